//! Streams between processes: Unix sockets and TCP behind one face.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::unix::{self, SocketFile};
use crate::config::Address;

/// How many TCP connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How often a port that is taken is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What went wrong at which address.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {address}: {source}")]
pub struct TransportError {
    pub address: Address,
    /// `listen at` or `connect to`.
    pub doing: &'static str,
    pub source: io::Error,
}

impl TransportError {
    /// Nobody listens there (now): trying again later may help.
    pub fn nobody_listens(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    }
}

/// One connection.
#[derive(Debug)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Ready when [`Stream::try_read`] is worth a try.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Ready when [`Stream::try_write`] is worth a try.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Unix(stream) => stream.poll_write_ready(cx),
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.try_read(buffer),
            Stream::Tcp(stream) => stream.try_read(buffer),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.try_write(bytes),
            Stream::Tcp(stream) => stream.try_write(bytes),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Somebody who may be connected to. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    // The file first: fields are dropped in order, and as long as the listener lives, no other file
    // can have its inode.
    Unix { _file: SocketFile, listener: UnixListener },
    Tcp(TcpListener),
}

impl Listener {
    /// Where it listens; with TCP's port 0, the port that the system chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The system's own listener, if it listens on TCP.
    pub fn into_tcp(self) -> Option<TcpListener> {
        match self.inner {
            Inner::Tcp(listener) => Some(listener),
            Inner::Unix { .. } => None,
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.inner {
            Inner::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
            Inner::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

/// Listens at `address`; wants a tokio runtime around it. A Unix socket gets mode 0600, and takes
/// the place of one that nobody listens on; its directory must exist, and ought to be 0700.
pub fn listen(address: &Address) -> Result<Listener, TransportError> {
    let attempt = || {
        Ok(match address {
            Address::Unix(path) => {
                let (listener, file) = unix::listen(path)?;
                let listener = UnixListener::from_std(listener)?;
                let inner = Inner::Unix { _file: file, listener };
                Listener { address: address.clone(), inner }
            }
            Address::Tcp(at) => {
                let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                // A port in TIME_WAIT from our own last life is free to take; one that somebody
                // listens on is not.
                socket.set_reuseaddr(true)?;
                socket.bind(*at)?;
                let listener = socket.listen(BACKLOG)?;
                let address = Address::Tcp(listener.local_addr()?);
                Listener { address, inner: Inner::Tcp(listener) }
            }
        })
    };
    attempt().map_err(|source| TransportError {
        address: address.clone(),
        doing: "listen at",
        source,
    })
}

/// Like [`listen`]; while the address is taken, tries again for up to `patience`: whoever had it
/// may be on the way out.
pub async fn listen_within(
    address: &Address,
    patience: Duration,
) -> Result<Listener, TransportError> {
    let end = tokio::time::Instant::now() + patience;
    loop {
        match listen(address) {
            Err(error)
                if error.source.kind() == io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() + RETRY < end =>
            {
                tokio::time::sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

/// Connects to `address`. There is no deadline in here: a TCP peer that does not answer takes
/// minutes, so put a timeout around it.
pub async fn connect(address: &Address) -> Result<Stream, TransportError> {
    let attempt = async {
        Ok(match address {
            Address::Unix(path) => {
                let place = unix::Place::of(path)?;
                Stream::Unix(UnixStream::connect(place.path()).await?)
            }
            Address::Tcp(at) => {
                let stream = TcpStream::connect(at).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    };
    attempt.await.map_err(|source| TransportError {
        address: address.clone(),
        doing: "connect to",
        source,
    })
}
