//! Asks a running Fairlead whether it is ready, where nothing else that speaks HTTP is at hand: its image has no such tool.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// For the connection, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far more than the page ever has.
const MAX_BYTES: u64 = 256 * 1024;

/// What `/readyz` says at `<host>:<port>`, line by line. Blocks the thread.
///
/// # Errors
/// `FailedPrecondition` with the page where it is not ready; `InvalidArgument` for no address; else what went wrong on
/// the way.
pub fn ready(address: &str) -> Result<String> {
    let bad = || Error::invalid(format!("{address:?} is no address: use <host or IP address>:<port>"));
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let answer = ask(host, port).map_err(|error| Error::io(format!("ask {address}"), error))?;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(page.to_owned()),
        Some("503") => Err(Error::precondition(format!("not ready: {}", page.trim_end()))),
        _ => {
            let line = head.lines().next().unwrap_or_default();
            Err(Error::unknown(Kind::Internal, format!("{address} is no Fairlead: it answers {line:?}")))
        }
    }
}

/// One request of HTTP/1.0, so the answer ends with the connection.
fn ask(host: &str, port: u16) -> std::io::Result<String> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
                let mut answer = Vec::new();
                stream.take(MAX_BYTES).read_to_end(&mut answer)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request with `answer`.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 24];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"GET /readyz HTTP/1.0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_page_is_told_and_judged() {
        assert_eq!(
            ready(&serve("HTTP/1.0 200 OK\r\n\r\nback end here: ready\n")).unwrap(),
            "back end here: ready\n"
        );
        let text = ready(&serve("HTTP/1.0 503 Nope\r\n\r\nback end here: gone\n")).unwrap_err().to_string();
        assert!(text.contains("not ready: back end here: gone"), "{text}");
        for odd in ["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-x\r\n", ""] {
            let text = ready(&serve(odd)).unwrap_err().to_string();
            assert!(text.contains("is no Fairlead"), "{text}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let text = ready(&free.to_string()).unwrap_err().chain();
        assert!(text.contains(&free.to_string()) && text.contains("refused"), "{text}");
        for bad in ["", "host", "host:", "host:http", "host:65536"] {
            let text = ready(bad).unwrap_err().to_string();
            assert!(text.contains("is no address"), "{bad}: {text}");
        }
    }

    #[test]
    fn an_ipv6_address_may_have_brackets_or_not() {
        for address in ["[::1]:1", "::1:1"] {
            let text = ready(address).unwrap_err().chain();
            assert!(!text.contains("is no address") && !text.contains("lookup"), "{address}: {text}");
        }
    }
}
