//! Blocking work as a stream: the worker runs on a thread of its own and waits while nobody takes what it has made.

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use crate::{Error, Operation, Result};

enum Message<T> {
    Item(Result<T>),
    End,
}

/// Where a worker puts what it makes.
pub(super) struct Sink<T>(mpsc::Sender<Message<T>>);

impl<T> Sink<T> {
    /// Hands one item over, waiting for room. `false` when nobody listens any more: the worker may stop.
    pub(super) fn send(&self, item: Result<T>) -> bool {
        self.0.blocking_send(Message::Item(item)).is_ok()
    }
}

/// Runs `work` and streams what it sends; an error that it returns is the last item. A worker that ends in any other way
/// than by returning (a panic, a runtime that shuts down) ends the stream with an error, never quietly.
pub(super) fn blocking_stream<T: Send + 'static>(
    room: usize,
    operation: Operation,
    path: String,
    work: impl FnOnce(&Sink<T>) -> Result<()> + Send + 'static,
) -> BoxStream<'static, Result<T>> {
    let (sender, receiver) = mpsc::channel(room);
    let begin = move || {
        tokio::task::spawn_blocking(move || {
            let sink = Sink(sender);
            let last = match work(&sink) {
                Ok(()) => Message::End,
                Err(error) => Message::Item(Err(error)),
            };
            // Nobody listening is no failure: the stream was dropped.
            drop(sink.0.blocking_send(last));
        });
        receiver
    };
    // The work begins when the stream is first asked for something, which is inside a runtime.
    let state = State::Waiting(Box::new(begin));
    stream::unfold((state, path), move |(state, path)| async move {
        let mut receiver = match state {
            State::Waiting(begin) => begin(),
            State::Running(receiver) => receiver,
            State::Done => return None,
        };
        match receiver.recv().await {
            Some(Message::Item(Ok(item))) => Some((Ok(item), (State::Running(receiver), path))),
            Some(Message::Item(Err(error))) => Some((Err(error), (State::Done, path))),
            Some(Message::End) => None,
            None => {
                let error = super::errors::stopped(operation, &path);
                Some((Err::<T, Error>(error), (State::Done, path)))
            }
        }
    })
    .boxed()
}

type Begin<T> = Box<dyn FnOnce() -> mpsc::Receiver<Message<T>> + Send>;

enum State<T> {
    Waiting(Begin<T>),
    Running(mpsc::Receiver<Message<T>>),
    Done,
}
