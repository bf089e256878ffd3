//! serve.

use super::place::Place;
use insta::assert_snapshot;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn addresses_and_folders_that_cannot_be() {
    let place = Place::new();
    std::fs::create_dir(place.path("cuts")).unwrap();
    assert_snapshot!(place.run("serve --base base --cuts cuts --listen 0.0.0.0:0"), @"
    exit 2
    --- stderr
    error: --listen 0.0.0.0:0: 0.0.0.0 can be reached from outside
    hint: give --keys FILE, or --insecure if all who reach it may change its tasks
    ");
    assert_snapshot!(place.run("serve --base base --cuts cuts --listen 127.0.0.1:0 --timeout=-1"), @"
    exit 2
    --- stderr
    error: --timeout is -1, expected seconds: cannot convert float seconds to Duration: value is negative
    ");
    assert_snapshot!(place.run("serve --base base --cuts nowhere --listen 127.0.0.1:0 --quiet"), @"
    exit 1
    --- stderr
    error: cannot read the folder nowhere: No such file or directory (os error 2)
    hint: --cuts takes a folder that can be read and written; it may be empty
    ");
    for option in ["--trust base/config.json", "--poll 5s"] {
        let shown =
            place.run(&format!("serve --base base --cuts cuts --listen 127.0.0.1:0 {option}"));
        let option = option.split(' ').next().unwrap();
        assert_eq!(
            shown.to_string(),
            format!(
                "exit 2\n--- stderr\nerror: {option} has no meaning for a folder of cuts\n\
                 hint: push the cuts into a store, and serve that: linocut serve --store\n"
            )
        );
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let shown = place.run(&format!("serve --base base --cuts cuts --listen 127.0.0.1:{port}"));
    assert_snapshot!(shown.to_string().replace(&port.to_string(), "PORT"), @"
    exit 1
    --- stderr
    error: cannot listen on 127.0.0.1:PORT: Address already in use (os error 98)
    hint: choose another port with --listen
    ");
}

/// A server on a free port, its log, and its address.
fn start(place: &Place, more: &str) -> (Child, BufReader<ChildStderr>, String) {
    let mut command = place.command();
    let args =
        format!("serve --base base --cuts cuts --listen 127.0.0.1:0 --quiet --log json{more}");
    command.args(args.split(' '));
    listening(command)
}

fn listening(mut command: Command) -> (Child, BufReader<ChildStderr>, String) {
    let mut server = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let (_, address) = line.split_once("listening on http://").unwrap();
    let address = address.split('"').next().unwrap().to_string();
    (server, log, address)
}

/// The answer to a prediction.
fn ask(address: &str) -> String {
    ask_with(address, "none")
}

/// The same with a key.
fn ask_with(address: &str, key: &str) -> String {
    let body = r#"{"inputs": "warm rain today", "tasks": ["topics"]}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n"
    );
    let about = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{about}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn terminate(server: &Child) {
    let id = server.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn answers_as_predict_does_until_it_is_told_to_stop() {
    let place = Place::trained();
    std::fs::create_dir(place.path("cuts")).unwrap();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    let (mut server, mut log, address) = start(&place, "");
    let answer = ask(&address);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let label = |text: &str| {
        let (_, rest) = text.split_once("\"label\":\"").unwrap();
        rest.split('"').next().unwrap().to_string()
    };
    let alone =
        place.run_with("predict topics.cut --base base --json --quiet", &["warm rain today"], b"");
    assert_eq!(label(&answer), label(&alone.to_string().replace("\": \"", "\":\"")));

    let well = || {
        let mut command = place.command();
        // A proxy is for what is elsewhere.
        command
            .args(["health", &format!("http://{address}/")])
            .env("http_proxy", "http://127.0.0.1:9");
        place.finish(command, b"").to_string()
    };
    assert_snapshot!(well(), @"
    exit 0
    --- stdout
    ready
    ");
    let elsewhere = place.run(&format!("health http://{address}/v1")).to_string();
    assert_snapshot!(elsewhere.replace(&address, "ADDRESS"), @"
    exit 1
    --- stderr
    error: http://ADDRESS/v1/health: not the answer of `linocut serve` (status 404)
    hint: the address is that of the server, without a path: http://HOST:PORT
    ");
    let page = place.run(&format!("health http://{address}/?x")).to_string();
    assert_snapshot!(page.replace(&address, "ADDRESS"), @"
    exit 2
    --- stderr
    error: http://ADDRESS/?x: expected an address without ? and #
    ");

    // A second one on the same folder says whose it is, and takes over when the first has ended.
    let mut command = place.command();
    command
        .args("serve --base base --cuts cuts --listen 127.0.0.1:0 --quiet --log json".split(' '));
    let mut second = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut second_log = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    second_log.read_line(&mut line).unwrap();
    let line = line.replace(&server.id().to_string(), "ID").replace(&address, "ADDRESS");
    assert_snapshot!(line, @"warning: cuts: process ID (linocut serve on ADDRESS) is at work on it; standing by until it ends (--read-only serves beside it)");
    assert!(ask(&address).starts_with("HTTP/1.1 200 OK\r\n"), "the first goes on");

    terminate(&server);
    assert!(server.wait().unwrap().success());
    assert_snapshot!(well().replace(&address, "ADDRESS"), @"
    exit 1
    --- stderr
    error: http://ADDRESS/health: no answer: io: Connection refused (os error 111)
    ");
    let mut line = String::new();
    second_log.read_line(&mut line).unwrap();
    let (_, address) = line.split_once("listening on http://").unwrap();
    let answer = ask(address.split('"').next().unwrap());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    terminate(&second);
    assert!(second.wait().unwrap().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\\\"inputs\\\":32,"), "the limits: {rest}");
    assert!(rest.contains("\"message\":\"stopped\""), "{rest}");
    let mut out = String::new();
    server.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "");
    assert!(!place.path("cuts/.linocut.lock").exists());
}

#[cfg(unix)]
#[test]
fn a_log_that_nobody_reads_and_a_bad_file_stop_nothing() {
    let place = Place::trained();
    std::fs::create_dir(place.path("cuts")).unwrap();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    place.write("cuts/bad.cut", "no cut");
    let (mut server, log, address) = start(&place, "");
    drop(log);
    for _ in 0..3 {
        let answer = ask(&address);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    terminate(&server);
    assert!(server.wait().unwrap().success());
    assert_snapshot!(place.run("serve --base base --cuts cuts --listen 127.0.0.1:0 --quiet --strict"), @"
    exit 1
    --- stderr
    error: cuts/bad.cut: not a whole and unaltered cut: the last 32 of its 6 bytes are not the digest of those before
    hint: the file was cut short, changed, or is something else; copy it again from where it was made; or move the file out of the folder
    ");
}

/// Keys and tasks that were changed are taken over on SIGHUP; keys that are none leave those that there are.
#[cfg(unix)]
#[test]
fn a_hang_up_has_keys_and_store_read_again() {
    let place = Place::trained();
    let keys = |key: &str| {
        let keys = format!(r#"[{{"name": "a", "key": "{key}", "rights": ["predict"]}}]"#);
        place.write("keys.json", keys);
    };
    let (first, second) = ("the-first-key-of-all", "the-second-key-of-all");
    keys(first);
    std::fs::create_dir(place.path("fleet")).unwrap();
    let mut command = place.command();
    let line = "serve --base base --store fleet --poll 1h --keys keys.json --listen 127.0.0.1:0 --quiet --log json";
    let mut server =
        command.args(line.split(' ')).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("fleet is empty: a new store, without tasks"), "{line}");
    assert!(line.contains("\"level\":\"WARN\""), "{line}");
    line.clear();
    log.read_line(&mut line).unwrap();
    let (_, address) = line.split_once("listening on http://").unwrap();
    let address = address.split('"').next().unwrap().to_string();
    let status = |key: &str| ask_with(&address, key).split(' ').nth(1).unwrap().to_string();
    assert_eq!(status(first), "404", "there is no task yet");
    let mut hang_up = || {
        let id = server.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        while !line.contains("tasks read again") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server has ended");
        }
        line.clear();
    };
    place.run("push topics.cut fleet");
    keys(second);
    assert_eq!((status(first).as_str(), status(second).as_str()), ("404", "401"));
    hang_up();
    assert_eq!((status(first).as_str(), status(second).as_str()), ("401", "200"));
    place.write("keys.json", "no keys");
    hang_up();
    assert_eq!(status(second), "200");
    terminate(&server);
    assert!(server.wait().unwrap().success());
}

/// A request under way is waited for, until the second signal.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::trained();
    std::fs::create_dir(place.path("cuts")).unwrap();
    let (mut server, mut log, address) = start(&place, "");
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\n";
    let about = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(format!("{head}{about}{{").as_bytes()).unwrap();
    let busy = Duration::from_millis(300);
    sleep(busy);
    terminate(&server);
    sleep(busy);
    assert!(server.try_wait().unwrap().is_none(), "it waits for the request");
    let second = Instant::now();
    terminate(&server);
    assert_eq!(server.wait().unwrap().code(), None, "it ends by the signal");
    assert!(second.elapsed() < Duration::from_secs(2), "{:?}", second.elapsed());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("\"message\":\"stopped\""), "{rest}");
}

/// With no descriptor left, a task is removed from disk, memory and lists alike, or from none.
#[cfg(target_os = "linux")]
#[test]
fn a_change_without_descriptors_is_whole_or_not_at_all() {
    let place = Place::trained();
    std::fs::create_dir(place.path("cuts")).unwrap();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    let mut command = Command::new("sh");
    let line = "serve --base base --cuts cuts --listen 127.0.0.1:0 --quiet --log json";
    command.args(["-c", &format!("ulimit -n 48; exec \"$0\" {line}")]);
    command.arg(env!("CARGO_BIN_EXE_linocut"));
    place.prepare(&mut command);
    let (server, log, address) = listening(command);
    let mut first = TcpStream::connect(&address).unwrap();
    let mut send = |method: &str, body: &[u8]| {
        let head = format!("{method} /v1/tasks/topics HTTP/1.1\r\nhost: localhost\r\n");
        let length = format!("content-length: {}\r\n\r\n", body.len());
        first.write_all(&[head.as_bytes(), length.as_bytes(), body].concat()).unwrap();
        let mut status = [0; 12];
        first.read_exact(&mut status).unwrap();
        let mut rest = BufReader::new(&first);
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            rest.read_line(&mut line).unwrap();
            if let Some(length) = line.to_lowercase().strip_prefix("content-length: ") {
                bytes = length.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; bytes];
        rest.read_exact(&mut body).unwrap();
        String::from_utf8(status[9..].to_vec()).unwrap()
    };
    assert_eq!(send("GET", b""), "200");
    // Places for more connections than there are descriptors.
    let held: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(&address).unwrap()).collect();
    sleep(Duration::from_millis(300));
    let cut = place.read("topics.cut");
    let put = send("PUT", &cut);
    assert!(["200", "500", "507"].contains(&put.as_str()), "{put}");
    assert_eq!(place.read("cuts/topics.cut"), cut, "whole, whatever was answered");
    let deleted = send("DELETE", b"");
    let (there, listed) = (place.path("cuts/topics.cut").exists(), send("GET", b""));
    match deleted.as_str() {
        "204" => assert_eq!((there, listed.as_str()), (false, "404")),
        _ => assert_eq!((there, listed.as_str()), (true, "200"), "{deleted}"),
    }
    drop(held);
    assert_eq!(send("PUT", &cut), if there { "200" } else { "201" }, "then it is as before");
    let mut left = std::fs::read_dir(place.path("cuts")).unwrap();
    assert!(!left.any(|e| e.unwrap().file_name().to_str().unwrap().ends_with(".tmp")));
    drop(log);
    terminate(&server);
}
