//! Waiting for block devices: the kernel's uevents, with a slow poll as the safety net.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::error::Result;

/// The multicast group in which the kernel itself speaks (the other one is udev's).
const KERNEL: u32 = 1;
/// The first pause of the poll; it doubles up to the last one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Asks `check` at once, then after every uevent of a block device and at least once a second, until it gives something.
/// `None` where `timeout` passes first. Works, only slower, where uevents cannot be had: the kernel tells
/// every network namespace except those of another user namespace than its first.
///
/// # Errors
/// The first error of `check`.
pub async fn wait_for<T, L: Future<Output = Result<Option<T>>>>(
    timeout: Duration,
    check: impl FnMut() -> L,
) -> Result<Option<T>> {
    // Opened before the first look, so that nothing is missed between the two.
    let events = listen().inspect_err(|errno| tracing::debug!(%errno, "no uevents here: polling")).ok();
    wait_with(events, timeout, check).await
}

async fn wait_with<T, L: Future<Output = Result<Option<T>>>>(
    events: Option<AsyncFd<OwnedFd>>,
    timeout: Duration,
    mut check: impl FnMut() -> L,
) -> Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = check().await? {
            return Ok(Some(found));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(None);
        }
        let until = deadline.min(now + pause);
        pause = LAST_PAUSE.min(pause * 2);
        match &events {
            // Elapsed is the poll's turn.
            Some(events) => drop(tokio::time::timeout_at(until, block_event(events)).await),
            None => tokio::time::sleep_until(until).await,
        }
    }
}

fn listen() -> Result<AsyncFd<OwnedFd>, Errno> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &NetlinkAddr::new(0, KERNEL))?;
    // SAFETY: an OwnedFd is an open descriptor, always the same one, until the AsyncFd that owns it drops it.
    unsafe { AsyncFd::register(fd) }
        .map_err(|error| Errno::from_raw(std::io::Error::from(error).raw_os_error().unwrap_or_default()))
}

/// Returns after a uevent of a block device; takes all that have come, so that a burst is one wake-up.
async fn block_event(events: &AsyncFd<OwnedFd>) {
    let mut buffer = vec![0; 8 << 10];
    loop {
        let Ok(mut ready) = events.readable().await else { return std::future::pending().await };
        let mut seen = false;
        loop {
            match recv(std::os::fd::AsRawFd::as_raw_fd(events.get_ref()), &mut buffer, MsgFlags::empty()) {
                Ok(length) => seen |= is_block(buffer.get(..length).unwrap_or_default()),
                Err(Errno::EAGAIN) => break,
                // Events were lost: any of them may have been the one.
                Err(Errno::ENOBUFS) => seen = true,
                Err(Errno::EINTR) => {}
                // The poll goes on without it.
                Err(_) => return std::future::pending().await,
            }
        }
        if seen {
            return;
        }
        ready.clear_ready();
    }
}

/// Whether a uevent is about a block device: `action@devpath`, then `KEY=value`, each ended by a NUL.
fn is_block(event: &[u8]) -> bool {
    event.split(|byte| *byte == 0).any(|field| field == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn block_events_are_told_from_others() {
        assert!(is_block(b"add@/devices/virtual/block/loop0\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=1\0"));
        assert!(!is_block(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=blocks\0"));
        assert!(!is_block(b""));
    }

    #[tokio::test]
    async fn it_looks_at_once_polls_and_gives_up_at_the_deadline() {
        assert_eq!(wait_for(Duration::ZERO, async || Ok(Some(1))).await.unwrap(), Some(1));
        assert_eq!(wait_for(Duration::from_millis(120), async || Ok(None::<()>)).await.unwrap(), None);
        for events in [None, Some(listen().unwrap())] {
            let mut left = 3;
            let counted = wait_with(events, Duration::from_secs(20), || {
                left -= 1;
                let seen = left == 0;
                async move { Ok(seen.then_some(())) }
            });
            assert_eq!(counted.await.unwrap(), Some(()));
        }
        wait_for(Duration::from_secs(1), async || Err::<Option<()>, _>(Error::internal("x")))
            .await
            .unwrap_err();
    }
}
