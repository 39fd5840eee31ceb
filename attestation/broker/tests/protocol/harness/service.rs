// SPDX-License-Identifier: Apache-2.0
//! A vendor's service on loopback.

use std::collections::HashMap;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

/// Answers by part of a path; what is asked is noted.
#[derive(Clone, Default)]
pub(crate) struct Service {
    answers: Arc<Mutex<HashMap<&'static str, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    stalled: Arc<AtomicBool>,
    failing: Arc<AtomicBool>,
}

/// A header line, possibly empty, and a body.
type Answer = (String, Vec<u8>);

impl Service {
    pub(crate) fn answer(&self, part: &'static str, body: &[u8]) {
        self.answer_with(part, "", body);
    }

    /// An answer with a header line, without its end.
    pub(crate) fn answer_with(&self, part: &'static str, header: &str, body: &[u8]) {
        self.answers.lock().unwrap().insert(part, (header.to_owned(), body.to_vec()));
    }

    /// Answers nothing any more.
    pub(crate) fn forget(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// From now on takes connections and says nothing.
    pub(crate) fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    /// From now on, or no longer, answers with an error of its own.
    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Serves until the test's process ends; the setting `name` that says where.
    pub(crate) fn serve(&self, name: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = format!("{name} = \"http://{}\"\n", listener.local_addr().unwrap());
        let service = self.clone();
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answers = service.answers.lock().unwrap().clone();
                let found = answers.into_iter().find(|(part, _)| path.contains(*part));
                service.asked.lock().unwrap().push(path);
                if service.stalled.load(Ordering::SeqCst) {
                    held.push(stream);
                    continue;
                }
                let failing = service.failing.load(Ordering::SeqCst);
                let (status, header, body) = match found {
                    _ if failing => (500, String::new(), Vec::new()),
                    Some((_, (header, body))) => (200, header, body),
                    None => (404, String::new(), Vec::new()),
                };
                let header = if header.is_empty() { header } else { header + "\r\n" };
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{header}connection: close\r\n\r\n"
                );
                stream.write_all(&[reply.as_bytes(), &body].concat()).unwrap();
            }
        });
        settings
    }
}
