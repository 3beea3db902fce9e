//! As much of HTTP/1.1 (RFC 9112) as a request without a body and an answer of one line need. A connection
//! carries one request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

/// The longest head of a request or an answer, in octets.
const HEAD: u64 = 8192;

/// Asks for `/` and reads the whole answer: its body, without the end of the line. The request may pause in
/// its middle, so that its connection lives longer.
///
/// # Errors
/// What the connection says, and an answer that is none, is not `200`, or ends early.
pub fn get(
    mut stream: impl Read + Write,
    host: &str,
    pause: Option<Duration>,
) -> io::Result<String> {
    let mut rest = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    if let Some(pause) = pause {
        let begin = rest.drain(.."GET /".len()).collect::<String>();
        stream.write_all(begin.as_bytes())?;
        std::thread::sleep(pause);
    }
    stream.write_all(rest.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let head = head(&mut reader)?;
    let status = head.first().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    if !status.is_some_and(|status| status.starts_with("200")) {
        return Err(wrong(&format!("not the answer of a server: {:?}", head.first())));
    }
    let length = head.iter().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok()).flatten()
    });
    let length: u64 = length.ok_or_else(|| wrong("an answer without its length"))?;
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    if body.len() as u64 != length {
        return Err(wrong("the answer ended early"));
    }
    Ok(body.trim_end().to_owned())
}

/// Reads a request and answers it with a line; what was asked for, `GET /`.
///
/// # Errors
/// What the connection says, and a request that is none.
pub fn answer(mut stream: impl Read + Write, line: &str) -> io::Result<String> {
    let head = head(&mut BufReader::new(&mut stream))?;
    let asked = head.first().and_then(|line| line.strip_suffix(" HTTP/1.1"));
    let asked = asked.ok_or_else(|| wrong("not a request"))?;
    // In one write, so that it is one segment.
    let length = line.len() + 1;
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{line}\n"
    );
    stream.write_all(text.as_bytes())?;
    Ok(asked.to_owned())
}

/// The lines before the empty one.
fn head(reader: impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in reader.take(HEAD).lines() {
        match line? {
            line if line.is_empty() => return Ok(lines),
            line => lines.push(line),
        }
    }
    Err(wrong("the other side ended early"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection on which `hears` is heard.
    struct Wire<'a> {
        hears: &'a [u8],
        said: Vec<u8>,
    }

    impl Read for Wire<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.hears.read(into)
        }
    }

    impl Write for Wire<'_> {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.said.write(from)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn heard(hears: &str) -> io::Result<String> {
        get(Wire { hears: hears.as_bytes(), said: Vec::new() }, "x", None)
    }

    #[test]
    fn one_side_understands_the_other() {
        let mut client = Wire { hears: b"", said: Vec::new() };
        assert!(get(&mut client, "192.0.2.1:80", None).is_err(), "nobody has answered");
        let mut slow = Wire { hears: b"", said: Vec::new() };
        assert!(get(&mut slow, "192.0.2.1:80", Some(Duration::from_millis(1))).is_err());
        assert_eq!(slow.said, client.said);
        let mut server = Wire { hears: &client.said, said: Vec::new() };
        assert_eq!(answer(&mut server, "pod-a").unwrap(), "GET /");
        let answer = String::from_utf8(server.said).unwrap();
        assert_eq!(heard(&answer).unwrap(), "pod-a");
        for end in 0..answer.len() {
            assert!(heard(&answer[..end]).is_err(), "{:?} is taken for all", &answer[..end]);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(heard("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(heard("HTTP/1.1 200 OK\r\n\r\npod-a\n").is_err());
        assert!(heard("SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        let long = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", "x".repeat(9000));
        for hears in ["", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n", &long] {
            let mut wire = Wire { hears: hears.as_bytes(), said: Vec::new() };
            assert!(answer(&mut wire, "pod-a").is_err(), "{hears:?}");
            assert!(wire.said.is_empty());
        }
    }
}
