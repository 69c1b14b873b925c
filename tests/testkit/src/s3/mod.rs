//! A real S3 server for tests and benches.
//!
//! Protocol and signatures are those of crate `s3s`; the store is ours, in memory, and as strict as AWS: conditional writes,
//! copies and deletes, pages of 1,000 keys in byte order, multipart rules, versions, checksums. What AWS does, the server does,
//! unless a knob in [`Quirks`] says otherwise; what it does not know it refuses with 501 rather than to pretend.
//!
//! ```
//! use ows_testkit::s3::{Op, Server, Then, When};
//!
//! let server = Server::builder().bucket("bucket").start();
//! server.put("bucket", "notes/plan.md", "hello");
//! server.fault(When::op(Op::List).nth(2), Then::slow_down(Some(1)));
//! // ... run a client against server.endpoint() with server.access_key() and server.secret_key() ...
//! assert_eq!(server.count(Op::List), 0);
//! assert_eq!(server.unreached_faults().len(), 1);
//! ```
//!
//! **Where things are.** `transport` accepts connections and lets faults strike, `api` receives the operations from `s3s`,
//! `objects`, `multipart` and `buckets` carry them out, `store`, `uploads` and `listing` know the rules, `body` reads and hashes.
//!
//! **Life.** The server has threads of its own, so blocking and async tests use it alike; it ends, with all connections, when
//! the value is dropped.
//!
//! **Not here:** access control beyond one key, encryption with client keys, tags, legal holds, lifecycle, virtual-hosted
//! addresses, composite checksums on completing, part numbers on reads, HTTP/2 (AWS has none either).

mod access;
mod api;
mod body;
mod buckets;
mod calls;
mod clock;
mod faults;
mod listing;
mod multipart;
mod objects;
mod quirks;
mod store;
mod tls;
mod transport;
mod uploads;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use access::{Access, StoredObject, StoredUpload};
pub use calls::{Call, Op};
pub use clock::Clock;
pub use faults::{Gate, Then, When};
pub use quirks::{Condition, ETags, Quirks};

use calls::Counters;
use faults::Faults;
use store::{Store, Versioning};

/// The region that the server is in. Signatures for any other are accepted as well.
pub const REGION: &str = "us-east-1";

/// All that requests and tests have in common.
pub(crate) struct Shared {
    store: Mutex<Store>,
    quirks: RwLock<Arc<Quirks>>,
    clock: Clock,
    counters: Counters,
    faults: Faults,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.quirks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a server is to be; see [`Server::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    buckets: Vec<(String, Versioning)>,
    quirks: Quirks,
    clock: Clock,
    tls: bool,
    hosts: Vec<String>,
    port: u16,
    access_key: String,
    secret_key: String,
    threads: usize,
}

impl Builder {
    /// Makes a bucket.
    #[must_use]
    pub fn bucket(mut self, name: &str) -> Self {
        self.buckets.push((name.to_owned(), Versioning::Never));
        self
    }

    /// Makes a bucket with versioning on.
    #[must_use]
    pub fn versioned_bucket(mut self, name: &str) -> Self {
        self.buckets.push((name.to_owned(), Versioning::Enabled));
        self
    }

    /// Sets the deviations from AWS.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Sets the clock for `LastModified` and `Date`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Serves HTTPS, with a certificate for `localhost`, 127.0.0.1 and the names of [`Self::host`] from the authority of
    /// [`Server::ca_pem`].
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Adds a name to the certificate, such as `s3.test`.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_owned());
        self
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the one key pair that is let in.
    #[must_use]
    pub fn keys(mut self, access_key: &str, secret_key: &str) -> Self {
        access_key.clone_into(&mut self.access_key);
        secret_key.clone_into(&mut self.secret_key);
        self
    }

    /// Threads that serve connections; 2 by default.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// When the port cannot be bound, a bucket's name is too short (3 characters) or given twice, or a host name is none.
    #[must_use]
    pub fn start(self) -> Server {
        let mut store = Store::default();
        for (name, versioning) in &self.buckets {
            store
                .create_bucket(name, self.clock.now())
                .unwrap_or_else(|error| panic!("{error}"));
            store.bucket_mut(name).expect("it was just made").versioning = *versioning;
        }
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            quirks: RwLock::new(Arc::new(self.quirks)),
            clock: self.clock,
            counters: Counters::default(),
            faults: Faults::default(),
        });
        let mut names = vec!["localhost".to_owned()];
        names.extend(self.hosts);
        let tls = self.tls.then(|| tls::make(&names));
        let acceptor = tls
            .as_ref()
            .map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));

        let mut service = S3ServiceBuilder::new(api::Api(Arc::clone(&shared)));
        service.set_auth(SimpleAuth::from_single(
            self.access_key.clone(),
            self.secret_key.clone(),
        ));
        let service = service.build();

        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .expect("a port on loopback can be bound");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound socket has a name");
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.threads)
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)
                    .expect("the runtime takes the socket");
                tokio::select! {
                    () = transport::serve(listener, acceptor, state, service) => {}
                    _ = stopped => {}
                }
            });
            // Cancels what still runs; a handler never blocks for long.
            runtime.shutdown_timeout(Duration::from_secs(5));
        });
        Server {
            access: Access(shared),
            address,
            ca_pem: tls.map(|tls| tls.ca_pem),
            access_key: self.access_key,
            secret_key: self.secret_key,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

/// A running S3 server. What the store holds, what was called and what goes wrong is behind [`Access`], which it derefs to.
pub struct Server {
    access: Access,
    address: SocketAddr,
    ca_pem: Option<String>,
    access_key: String,
    secret_key: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server without buckets, on a free port of 127.0.0.1, over plain HTTP, as AWS.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            buckets: Vec::new(),
            quirks: Quirks::default(),
            clock: Clock::system(),
            tls: false,
            hosts: Vec::new(),
            port: 0,
            access_key: "AKIATESTKIT".to_owned(),
            secret_key: "testkit-secret-key".to_owned(),
            threads: 2,
        }
    }

    /// A server with one bucket, as AWS.
    #[must_use]
    pub fn with_bucket(name: &str) -> Self {
        Self::builder().bucket(name).start()
    }

    /// URL to give to clients: `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let port = self.port();
        match self.ca_pem {
            None => format!("http://127.0.0.1:{port}"),
            Some(_) => format!("https://localhost:{port}"),
        }
    }

    /// The port on 127.0.0.1, for clients that resolve a name of their own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The access key id that is let in.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Its secret key.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Certificate of the authority, PEM, when the server serves TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// A handle that outlives borrows of the server; the store stays readable through it after the server is gone.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }
}

impl Deref for Server {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The receiver is gone when the thread ended by itself, and then there is nothing to stop.
        self.stop.take().map(|stop| stop.send(()).ok());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server's thread panicked");
        }
    }
}
