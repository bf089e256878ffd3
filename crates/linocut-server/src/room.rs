//! Memory that bodies under way may take together, no key more than its part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Kind, Problem};

/// Bytes that bodies may hold, however slowly they come.
pub(crate) struct Room {
    most: usize,
    most_of_one: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: HashMap<String, usize>,
}

/// Bytes that a body holds, given back when it is dropped.
pub(crate) struct Taken {
    room: Arc<Room>,
    of: String,
    bytes: usize,
}

impl Room {
    /// For `most` bytes, of which one key may hold half where there are `several`.
    pub(crate) fn new(most: usize, several: bool) -> Arc<Self> {
        let most_of_one = if several { most / 2 } else { most };
        Arc::new(Self { most, most_of_one, held: Mutex::default() })
    }

    /// Bytes in all.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Nothing yet, for the key named `of`.
    pub(crate) fn begin(self: &Arc<Self>, of: &str) -> Taken {
        Taken { room: Arc::clone(self), of: of.to_string(), bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes more, until it holds `bytes`.
    ///
    /// # Errors
    /// If there is no room for them now.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let bytes = bytes.saturating_sub(self.bytes);
        let Room { most, most_of_one, .. } = *self.room;
        let mut held = self.room.held();
        let of_one = held.by.get(&self.of).copied().unwrap_or(0);
        if held.all + bytes > most || of_one + bytes > most_of_one {
            let message = format!(
                "bodies under way hold {} bytes, expected at most {most}, {most_of_one} of one key",
                held.all
            );
            return Err(Problem::new(Kind::Overloaded, message)
                .with_hint("try again later, with fewer requests at a time"));
        }
        held.all += bytes;
        *held.by.entry(self.of.clone()).or_default() += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut held = self.room.held();
        held.all -= self.bytes;
        if let Some(of_one) = held.by.get_mut(&self.of) {
            *of_one -= self.bytes;
            if *of_one == 0 {
                held.by.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn one_key_cannot_take_all_of_it() {
        let room = Room::new(100, true);
        let mut first = room.begin("a");
        first.grow(30).unwrap();
        first.grow(50).unwrap();
        first.grow(40).unwrap(); // holds more already
        let mut second = room.begin("a");
        assert!(second.grow(1).is_err());
        let mut other = room.begin("b");
        other.grow(50).unwrap();
        assert!(room.begin("c").grow(1).is_err());
        drop(first);
        second.grow(50).unwrap();
        drop((second, other));
        assert!(room.held().by.is_empty());
        Room::new(100, false).begin("anyone").grow(100).unwrap();
    }
}
