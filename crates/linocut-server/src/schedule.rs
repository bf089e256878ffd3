//! Whose part of a request is computed next: fair shares, so that a small request waits for no large
//! one.
//!
//! Weighted fair queueing, all weights alike: every key, and every request of a key, has a clock that
//! its computed work moves on, and who would be done with its next part first is next. All work moves
//! the common time on, each time by an equal share for everyone at work, and someone new starts at
//! that time: as if all were computed at once. So what little it asks is done before more parts of
//! what others have begun, and whoever waits is overtaken only until the time reaches its own clock.

use std::collections::VecDeque;
use std::sync::Arc;

/// Parts of requests that wait.
pub(crate) struct Schedule<P> {
    lanes: Vec<Lane<P>>,
    time: Time,
}

/// Most who are done and still take part in the time: a stream of small requests without end leaves
/// a large one a share of at least one in so many and one.
const AHEAD: usize = 8;

/// The common time of some who share.
#[derive(Default)]
struct Time {
    now: f64,
    /// Clocks of those who were done before their share would have let them: they go on taking part
    /// until the time is there, or the others would fall ever further behind it.
    ahead: Vec<f64>,
}

impl Time {
    /// Moves on by an equal share of `work` for each of `others` and of those ahead.
    fn pass(&mut self, mut work: f64, others: usize) {
        loop {
            let sharing = (others + self.ahead.len()).max(1) as f64;
            let at = first_of(self.ahead.iter().copied());
            match self.ahead.get(at).map(|clock| (clock - self.now).max(0.0) * sharing) {
                Some(until) if until <= work => {
                    work -= until;
                    self.now = self.now.max(self.ahead.swap_remove(at));
                }
                _ => {
                    self.now += work / sharing;
                    return;
                }
            }
        }
    }

    /// Someone whose clock this is has nothing left to do.
    fn leave(&mut self, clock: f64) {
        if clock > self.now {
            self.ahead.push(clock);
        }
        if self.ahead.len() > AHEAD {
            let least = first_of(self.ahead.iter().copied());
            self.ahead.swap_remove(least);
        }
    }
}

/// The requests of one key.
struct Lane<P> {
    key: Arc<str>,
    clock: f64,
    time: Time,
    requests: Vec<Waiting<P>>,
}

/// What is left of one request; at least one part.
struct Waiting<P> {
    id: u64,
    clock: f64,
    /// Each with its work.
    parts: VecDeque<(f64, P)>,
}

/// A part whose turn it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Next<P> {
    /// Of its request.
    pub(crate) id: u64,
    pub(crate) work: f64,
    /// Whether its request has no other left.
    pub(crate) last: bool,
    pub(crate) part: P,
}

impl<P> Waiting<P> {
    fn next_work(&self) -> f64 {
        self.parts.front().map_or(0.0, |(work, _)| *work)
    }

    fn done_at(&self) -> f64 {
        self.clock + self.next_work()
    }
}

impl<P> Lane<P> {
    /// The place of the request whose turn it is.
    fn first(&self) -> usize {
        first_of(self.requests.iter().map(Waiting::done_at))
    }

    fn done_at(&self) -> f64 {
        self.clock + self.requests[self.first()].next_work()
    }
}

/// The place of the smallest; of equals the first.
fn first_of(times: impl Iterator<Item = f64>) -> usize {
    times.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i)
}

impl<P> Schedule<P> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self { lanes: Vec::new(), time: Time::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Adds a request of the key with this name: parts in their order, each with its work.
    pub(crate) fn push(&mut self, key: &Arc<str>, id: u64, parts: VecDeque<(f64, P)>) {
        if parts.is_empty() {
            return;
        }
        let at = self.lanes.iter().position(|lane| lane.key == *key).unwrap_or_else(|| {
            let (key, clock) = (Arc::clone(key), self.time.now);
            self.lanes.push(Lane { key, clock, time: Time::default(), requests: Vec::new() });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[at];
        lane.requests.push(Waiting { id, clock: lane.time.now, parts });
    }

    /// Takes the next part, if its work is at most `room`, or `rest` where its request has more.
    pub(crate) fn next(&mut self, (room, rest): (f64, f64)) -> Option<Next<P>> {
        if self.lanes.is_empty() {
            return None;
        }
        let (at, lanes) = (first_of(self.lanes.iter().map(Lane::done_at)), self.lanes.len());
        let lane = &mut self.lanes[at];
        let (place, requests) = (lane.first(), lane.requests.len());
        let request = &mut lane.requests[place];
        let last = request.parts.len() == 1;
        if request.next_work() > if last { room } else { rest } {
            return None;
        }
        let (work, part) = request.parts.pop_front()?;
        request.clock += work;
        lane.clock += work;
        let (id, clock) = (request.id, request.clock);
        lane.time.pass(work, requests);
        self.time.pass(work, lanes);
        if last {
            lane.requests.remove(place);
            lane.time.leave(clock);
        }
        if lane.requests.is_empty() {
            self.time.leave(lane.clock);
            self.lanes.remove(at);
        }
        Some(Next { id, work, last, part })
    }

    /// Takes what is left of a request out.
    pub(crate) fn remove(&mut self, id: u64) {
        for lane in &mut self.lanes {
            lane.requests.retain(|request| request.id != id);
        }
        self.lanes.retain(|lane| !lane.requests.is_empty());
    }

    /// Work that is computed before a new request with so much of it is done, if none comes later:
    /// of every other no more than it has itself.
    pub(crate) fn ahead_of(&self, work: f64) -> f64 {
        let requests = self.lanes.iter().flat_map(|lane| &lane.requests);
        let left = requests.map(|request| request.parts.iter().map(|(work, _)| work).sum::<f64>());
        left.map(|left| left.min(work)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(work: &[f64]) -> VecDeque<(f64, ())> {
        work.iter().map(|&work| (work, ())).collect()
    }

    fn order(schedule: &mut Schedule<()>) -> Vec<u64> {
        std::iter::from_fn(|| schedule.next((f64::INFINITY, f64::INFINITY)))
            .map(|next| next.id)
            .collect()
    }

    #[test]
    fn requests_take_turns() {
        let (mut schedule, key) = (Schedule::new(), Arc::from("a"));
        schedule.push(&key, 1, parts(&[4.0; 3]));
        schedule.push(&key, 2, parts(&[4.0; 3]));
        assert_eq!(order(&mut schedule), [1, 2, 1, 2, 1, 2]);
        assert!(schedule.is_empty());
    }

    #[test]
    fn a_small_request_overtakes_any_number_of_large_ones() {
        let (mut schedule, key) = (Schedule::new(), Arc::from("a"));
        (0..50).for_each(|id| schedule.push(&key, id, parts(&[100.0; 40])));
        (0..777).for_each(|_| assert!(schedule.next((100.0, 100.0)).is_some()));
        schedule.push(&key, 99, parts(&[6.0]));
        let small = Next { id: 99, work: 6.0, last: true, part: () };
        assert_eq!(schedule.next((100.0, 100.0)), Some(small));
        assert_eq!(schedule.next((100.0, 99.0)), None, "more of a request than it may have");
    }

    #[test]
    fn no_stream_of_small_requests_holds_a_large_one_up_for_ever() {
        let (mut schedule, key) = (Schedule::new(), Arc::from("a"));
        schedule.push(&key, 0, parts(&[100.0; 10]));
        let (mut small, mut large) = (0, 0);
        while large < 10 {
            small += 1;
            assert!(small < 1500, "{large} of 10 parts");
            schedule.push(&key, small, parts(&[10.0]));
            large += usize::from(schedule.next((100.0, 100.0)).is_some_and(|next| next.id == 0));
        }
    }

    /// Large ones that are done and come again do not leave the others behind the time.
    #[test]
    fn small_requests_wait_no_longer_after_many_large_ones() {
        let (mut schedule, key) = (Schedule::new(), Arc::from("a"));
        (0..16).for_each(|id| schedule.push(&key, id, parts(&[100.0; 7])));
        let mut left = [7; 16];
        for round in 0..20_000 {
            let Some(Next { id, .. }) = schedule.next((100.0, 100.0)) else {
                panic!("nothing waits")
            };
            left[id as usize] -= 1;
            if left[id as usize] == 0 {
                left[id as usize] = 7;
                schedule.push(&key, id, parts(&[100.0; 7]));
            }
            if round % 97 == 0 {
                schedule.push(&key, 99, parts(&[6.0]));
                let before = (0..20).take_while(|_| {
                    let Some(Next { id, .. }) = schedule.next((100.0, 100.0)) else {
                        return false;
                    };
                    if id != 99 {
                        left[id as usize] -= 1;
                        if left[id as usize] == 0 {
                            left[id as usize] = 7;
                            schedule.push(&key, id, parts(&[100.0; 7]));
                        }
                    }
                    id != 99
                });
                let before = before.count();
                assert!(before < 3, "round {round}: {before} parts before");
            }
        }
    }

    #[test]
    fn a_key_has_one_share_however_many_requests_it_sends() {
        let mut schedule = Schedule::new();
        let (many, one): (Arc<str>, Arc<str>) = ("many".into(), "one".into());
        (0..9).for_each(|id| schedule.push(&many, id, parts(&[10.0; 10])));
        schedule.push(&one, 9, parts(&[10.0; 10]));
        let order = order(&mut schedule);
        assert_eq!(order[..20].iter().filter(|id| **id == 9).count(), 10, "{order:?}");
    }

    #[test]
    fn what_is_ahead_is_no_more_of_each_than_asked() {
        let (mut schedule, key) = (Schedule::new(), Arc::from("a"));
        schedule.push(&key, 1, parts(&[4.0; 3]));
        schedule.push(&key, 2, parts(&[1.0]));
        assert_eq!((schedule.ahead_of(5.0), schedule.ahead_of(100.0)), (6.0, 13.0));
        schedule.remove(1);
        assert_eq!(order(&mut schedule), [2]);
    }
}
