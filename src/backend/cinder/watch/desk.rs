//! Those who wait for objects of one kind, and the task that looks for all of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::backend::cinder::client::Client;
use crate::error::{Error, Kind, Result};

use super::ask::{Bounds, Found, Subject, Watched};
use super::pace::{Crowd, Habits};
use super::{Judge, pace};

/// Who is to be looked for within this time is looked for now, too.
const SHARED: Duration = Duration::from_millis(50);

/// What was seen, shared by all who wait for it. The inner `None`: it is gone.
type Look<T> = Option<Arc<Option<T>>>;

pub(super) struct Desk<T: Watched> {
    client: Client,
    bounds: Bounds,
    board: Mutex<Board<T>>,
    /// Somebody came or went.
    changed: Notify,
}

impl<T: Watched> fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters = self.board().waiters.len();
        f.debug_struct("Desk").field("what", &T::WHAT).field("waiters", &waiters).finish()
    }
}

struct Board<T> {
    waiters: HashMap<u64, Waiter<T>>,
    tickets: u64,
    /// Whether the task runs.
    watched: bool,
    /// When the last look ended, and how many in a row saw nothing at all.
    looked: Instant,
    failures: u32,
    /// Whether the last look missed something.
    failed: bool,
    /// Waits that ended since.
    ended: usize,
    crowd: Crowd,
    habits: Habits,
}

/// What is known of a wait beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// What is waited for, where that mostly takes the same time.
    pub(super) habit: Option<&'static str>,
    /// Since when the cloud has changed the object, so that a list of what was changed since has it, or it is gone. `None`: it
    /// may not have changed it yet.
    pub(super) touched: Option<SystemTime>,
}

struct Waiter<T> {
    id: Arc<str>,
    touched: bool,
    since: Instant,
    clock: SystemTime,
    /// When it is its turn.
    due: Instant,
    /// When it was last asked for.
    asked: Instant,
    seen: bool,
    /// How often in a row it was asked for in vain, and why it was not seen the last time.
    missed: u32,
    failure: Option<Error>,
    looks: watch::Sender<Look<T>>,
}

/// A place at the desk, given up when it is dropped.
struct Place<T: Watched> {
    desk: Arc<Desk<T>>,
    ticket: u64,
    looks: watch::Receiver<Look<T>>,
}

impl<T: Watched> Drop for Place<T> {
    fn drop(&mut self) {
        let mut board = self.desk.board();
        board.waiters.remove(&self.ticket);
        board.ended += 1;
        drop(board);
        self.desk.changed.notify_one();
    }
}

/// Turns those who wait away where the task ends by a panic.
struct Watch<T: Watched>(Arc<Desk<T>>);

impl<T: Watched> Drop for Watch<T> {
    fn drop(&mut self) {
        let mut board = self.0.board();
        if std::thread::panicking() {
            board.waiters.clear();
            board.watched = false;
        }
    }
}

impl<T: Watched> Desk<T> {
    pub(super) fn new(client: &Client) -> Arc<Self> {
        Self::bounded(client, Bounds::default())
    }

    pub(super) fn bounded(client: &Client, bounds: Bounds) -> Arc<Self> {
        let board = Board {
            waiters: HashMap::new(),
            tickets: 0,
            watched: false,
            looked: Instant::now(),
            failures: 0,
            failed: false,
            ended: 0,
            crowd: Crowd::default(),
            habits: Habits::default(),
        };
        Arc::new(Self { client: client.clone(), bounds, board: Mutex::new(board), changed: Notify::new() })
    }

    fn board(&self) -> MutexGuard<'_, Board<T>> {
        // Nothing that panics runs under this lock; a poisoned one still holds a whole value.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the judge has a verdict.
    pub(super) async fn wait<R>(
        self: &Arc<Self>,
        id: &str,
        known: Known,
        limit: Duration,
        mut judge: impl Judge<T, R>,
    ) -> Result<R> {
        let began = Instant::now();
        let deadline = began + limit;
        let mut place = self.take_place(id, known);
        let mut looks = 0;
        let mut last = "not seen".to_owned();
        loop {
            match timeout_at(deadline, place.looks.changed()).await {
                Ok(Ok(())) => {
                    let look = place.looks.borrow_and_update().clone();
                    let Some(look) = look else { continue };
                    looks += 1;
                    if let Some(verdict) = judge((*look).as_ref()) {
                        let mut board = self.board();
                        // In a crowd it is the others that one waits for.
                        if board.crowd.pause(board.waiters.len()).is_zero() {
                            board.habits.learn(known.habit, looks, began.elapsed());
                        }
                        return verdict;
                    }
                    last = (*look).as_ref().map_or_else(|| "gone".to_owned(), T::state);
                }
                Ok(Err(_)) => {
                    return Err(
                        Error::internal("the watcher of the cloud broke off (see the log)").with(T::WHAT, id)
                    );
                }
                Err(_) => return Err(self.too_late(&place, id, limit, &last)),
            }
        }
    }

    fn too_late(&self, place: &Place<T>, id: &str, limit: Duration, last: &str) -> Error {
        let text = format!("the {} is still {last} after {:.0} s", T::WHAT, limit.as_secs_f64());
        let error = Error::unknown(Kind::Timeout, text).with(T::WHAT, id);
        match self.board().waiters.get(&place.ticket).and_then(|waiter| waiter.failure.as_ref()) {
            Some(failure) => error.and(format_args!("the last look failed: {failure}")),
            None => error,
        }
    }

    fn take_place(self: &Arc<Self>, id: &str, known: Known) -> Place<T> {
        let (sender, receiver) = watch::channel(None);
        let mut board = self.board();
        board.tickets += 1;
        let ticket = board.tickets;
        let since = Instant::now();
        let due = since + board.habits.first(known.habit).unwrap_or(T::FIRST);
        let clock = known.touched.unwrap_or_else(SystemTime::now);
        let touched = known.touched.is_some();
        let waiter = Waiter {
            id: Arc::from(id),
            touched,
            since,
            clock,
            due,
            asked: since,
            seen: false,
            missed: 0,
            failure: None,
            looks: sender,
        };
        board.waiters.insert(ticket, waiter);
        if !board.watched {
            board.watched = true;
            (board.failures, board.failed) = (0, false);
            tokio::spawn(Arc::clone(self).watch());
        }
        drop(board);
        self.changed.notify_one();
        Place { desk: Arc::clone(self), ticket, looks: receiver }
    }

    /// Looks for as long as somebody waits.
    async fn watch(self: Arc<Self>) {
        let _watch = Watch(Arc::clone(&self));
        let mut memory = T::Memory::default();
        while let Some(due) = self.due() {
            tokio::select! {
                () = sleep_until(due) => {}
                // Who came may have to be looked for earlier.
                () = self.changed.notified() => continue,
            }
            let subjects = self.subjects();
            let began = Instant::now();
            let found = T::all(&self.client, &mut memory, &subjects, self.bounds).await;
            self.tell(began, found);
        }
    }

    /// When to look next; `None`, and the task ends, where nobody waits.
    fn due(&self) -> Option<Instant> {
        let mut board = self.board();
        let due = board.waiters.values().map(|waiter| waiter.due);
        let Some(due) = due.min() else {
            board.watched = false;
            return None;
        };
        let pause = match board.failures {
            0 => board.crowd.pause(board.waiters.len()),
            failures => pace::after_failures(failures),
        };
        Some(due.max(board.looked + pause))
    }

    fn subjects(&self) -> Vec<Subject> {
        // Those whose turn is soon share the look.
        let soon = Instant::now() + SHARED;
        let mut subjects: HashMap<Arc<str>, Subject> = HashMap::new();
        for waiter in self.board().waiters.values() {
            let id = Arc::clone(&waiter.id);
            let new = Subject {
                id,
                since: waiter.clock,
                asked: waiter.asked,
                unseen: true,
                touched: false,
                due: false,
            };
            let subject = subjects.entry(Arc::clone(&waiter.id)).or_insert(new);
            subject.since = subject.since.min(waiter.clock);
            subject.asked = subject.asked.min(waiter.asked);
            subject.unseen &= !waiter.seen;
            subject.touched |= waiter.touched;
            subject.due |= waiter.due <= soon;
        }
        subjects.into_values().collect()
    }

    /// Shows what was found to those who waited already when the look began.
    fn tell(&self, began: Instant, found: Found<T>) {
        let mut board = self.board();
        board.looked = Instant::now();
        let now = board.looked;
        let ended = std::mem::take(&mut board.ended);
        let waiting = board.waiters.len();
        board.crowd.learn(waiting, ended);
        let looks: HashMap<_, _> =
            found.objects.into_iter().map(|(id, object)| (id, Arc::new(object))).collect();
        let crowd = board.crowd;
        for waiter in board.waiters.values_mut().filter(|waiter| waiter.since <= began) {
            let look = looks.get(&waiter.id);
            if look.is_some() || found.untouched.contains(&waiter.id) {
                (waiter.seen, waiter.missed, waiter.failure) = (true, 0, None);
                waiter.asked = now;
                waiter.due = now + crowd.next(waiting, now - waiter.since);
            } else if let Some(error) = found.missed.get(&waiter.id) {
                (waiter.missed, waiter.failure) = (waiter.missed.saturating_add(1), Some(error.clone()));
                waiter.asked = now;
                // One that does not answer holds up the others in half of their looks at most.
                waiter.due = now + pace::after_failures(waiter.missed).max(now - began);
            } else if found.failure.is_some() {
                waiter.failure.clone_from(&found.failure);
            }
            if let Some(look) = look {
                waiter.looks.send_replace(Some(Arc::clone(look)));
            }
        }
        match (&found.failure, board.failed) {
            (Some(error), false) => {
                tracing::warn!(what = T::WHAT, waiting = board.waiters.len(), %error, "a look at the cloud failed: it is repeated");
            }
            (None, true) => tracing::info!(what = T::WHAT, "looks at the cloud succeed again"),
            _ => {}
        }
        board.failed = found.failure.is_some();
        let blind = board.failed && looks.is_empty() && found.untouched.is_empty();
        board.failures = if blind { board.failures.saturating_add(1) } else { 0 };
    }
}
