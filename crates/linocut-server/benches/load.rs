//! What the server adds to the library: the same requests at the same moments to both, in turns, as
//! lines of JSON: `cargo bench -p linocut-server --bench load -- BASE CUTS TEXTS`. Arguments: folder of
//! the base, folder of cuts, file of texts, one a line; then optionally seconds of a run and share of
//! the most that the library can do. Each request is one text for one of the cuts.
//!
//! Requests arrive as a Poisson process, and an answer's time counts from the moment its request was
//! due, whether or not a client was free to ask then. The library's side is the server's without
//! HTTP: one thread answers all that wait in one batch. Near the most that a machine can do, how long
//! requests wait differs more between two runs than the server could add: `outside` is what of an
//! answer's time, as its client sees it, went neither on waiting for the compute thread nor on
//! computing (header `server-timing`).

use linocut::bank::{Answer, Bank, Options, Request};
use linocut::cut::Cut;
use linocut::kernels::random::{bits, uniform};
use linocut::model::{Base, Pooling};
use linocut_server::{Settings, State};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [base, cuts, texts, rest @ ..] = &args[..] else {
        eprintln!("usage: load -- BASE CUTS TEXTS [SECONDS] [SHARE]");
        return;
    };
    let seconds = rest.first().map_or(10.0, |s| s.parse().expect("seconds"));
    let share = rest.get(1).map_or(0.8, |s| s.parse::<f64>().expect("a share"));
    let texts = std::fs::read_to_string(texts).expect("a file of texts");
    let texts: Vec<&str> = texts.lines().collect();
    let cuts = Path::new(cuts);
    let bank = open(Path::new(base));
    let names = add(&bank, cuts);
    let request = |i: usize| Request {
        text: texts[i % texts.len()].into(),
        pair: None,
        tasks: vec![names[bits(3, i as u32) as usize % names.len()].clone()],
    };

    let address = serve(open(Path::new(base)), cuts);
    let (asks, asked) = channel();
    std::thread::spawn(move || answer(&bank, &asked));
    let library = || {
        let (asks, request) = (asks.clone(), &request);
        move |i| {
            let (reply, answered) = channel();
            asks.send((request(i), reply)).expect("a thread that answers");
            answered.recv().expect("an answer");
            0.0
        }
    };
    let server = || {
        let (mut connection, request) = (Connection::open(address), &request);
        move |i| {
            let Request { text, tasks, .. } = request(i);
            connection.ask(&json!({ "inputs": text, "tasks": tasks }).to_string())
        }
    };

    let at_once = vec![0.0; 2000];
    drive(&at_once[..500], library);
    drive(&at_once[..500], server);
    let most = |(times, _): (Vec<f64>, _)| at_once.len() as f64 / times.last().expect("some");
    let (most_library, most_server) =
        (most(drive(&at_once, library)), most(drive(&at_once, server)));
    println!(
        "{}",
        json!({
            "bench": "most", "tasks": names.len(), "clients": CLIENTS,
            "library_per_second": most_library, "server_per_second": most_server,
        })
    );
    let rate = share * most_library;
    for round in 0..ROUNDS {
        let mut now = 0.0;
        let due: Vec<f64> = (0..(rate * seconds) as u32)
            .map(|i| {
                now -= f64::from(1.0 - uniform(9 + round as u64, i)).ln() / rate;
                now
            })
            .collect();
        let times = if round % 2 == 0 {
            let library = drive(&due, library);
            [library, drive(&due, server)]
        } else {
            let server = drive(&due, server);
            [drive(&due, library), server]
        };
        let at = |times: &[f64], q: f64| 1e3 * times[(q * (times.len() - 1) as f64) as usize];
        let [(library, _), (server, outside)] = &times;
        println!(
            "{}",
            json!({
                "bench": "load", "requests_per_second": rate, "requests": due.len(),
                "library_p50_ms": at(library, 0.5), "library_p99_ms": at(library, 0.99),
                "server_p50_ms": at(server, 0.5), "server_p99_ms": at(server, 0.99),
                "outside_p50_ms": at(outside, 0.5), "outside_p99_ms": at(outside, 0.99),
            })
        );
    }
}

fn open(folder: &Path) -> Bank {
    let base = Base::open(folder, Some(Pooling::First)).expect("a base");
    Bank::new(base, Options::default()).expect("options")
}

/// Adds the cuts of the folder; their names.
fn add(bank: &Bank, cuts: &Path) -> Vec<String> {
    let files = cuts.read_dir().expect("a folder").map(|entry| entry.expect("a file").path());
    let add = |file: &Path| {
        let name = file.file_stem()?.to_str()?.to_string();
        bank.add(&name, &Cut::read(file).expect("a cut")).expect("a cut of this base");
        Some(name)
    };
    files.filter_map(|file| add(&file)).collect()
}

/// Starts a server on a free port.
fn serve(bank: Bank, cuts: &Path) -> SocketAddr {
    let state =
        State::open(bank, cuts.to_path_buf(), Settings::default(), |_, _| {}).expect("a state");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("threads").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            linocut_server::serve(listener, state, std::future::pending()).await
        })
    });
    address
}

/// Answers all that wait at a time in one batch.
fn answer(bank: &Bank, asked: &Receiver<(Request, Sender<Vec<Answer>>)>) {
    while let Ok(first) = asked.recv() {
        let (requests, replies): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(asked.try_iter()).unzip();
        let queries = bank.encode_all(&requests).into_iter().collect::<Result<Vec<_>, _>>();
        let queries = queries.expect("texts");
        let answers = bank.answer(&queries.iter().collect::<Vec<_>>());
        for (reply, answers) in replies.into_iter().zip(answers) {
            reply.send(answers).expect("somebody who waits");
        }
    }
}

/// Asks for each request when it is due (seconds from now, ascending): seconds from then to its
/// answer, and what `ask` says of it, both ascending. `client` makes one of [`CLIENTS`] that wait for
/// their answers.
fn drive<A: FnMut(usize) -> f64>(
    due: &[f64],
    client: impl Fn() -> A + Sync,
) -> (Vec<f64>, Vec<f64>) {
    let (next, start) = (AtomicUsize::new(0), Instant::now() + Duration::from_millis(50));
    let run = || {
        let mut ask = client();
        let mut times = Vec::new();
        loop {
            let i = next.fetch_add(1, Relaxed);
            let Some(&due) = due.get(i) else { return times };
            let due = start + Duration::from_secs_f64(due);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let said = ask(i);
            times.push((due.elapsed().as_secs_f64(), said));
        }
    };
    let (mut times, mut said): (Vec<f64>, Vec<f64>) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(run)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).unzip()
    });
    times.sort_by(f64::total_cmp);
    said.sort_by(f64::total_cmp);
    (times, said)
}

/// A connection that is kept open.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server");
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::new(stream) }
    }

    /// Posts `body` and reads the whole answer: seconds that went neither on waiting for the compute
    /// thread nor on computing, as the answer says.
    fn ask(&mut self, body: &str) -> f64 {
        let asked = Instant::now();
        let request = format!(
            "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("a server that reads");
        let (mut length, mut inside) = (0, 0.0);
        for number in 0.. {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer");
            let line = line.trim_end().to_ascii_lowercase();
            assert!(number > 0 || line == "http/1.1 200 ok", "{line}");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if let Some(value) = line.strip_prefix("server-timing:") {
                let times = value.split(',').filter_map(|part| part.split_once("dur="));
                inside = times.map(|(_, ms)| ms.trim().parse::<f64>().expect("a number")).sum();
            }
            if line.is_empty() {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).expect("the body");
        asked.elapsed().as_secs_f64() - 1e-3 * inside
    }
}
