//! Frames on a stream of bytes: a length (u32, big endian), then so many bytes. Bounded; knows no messages.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest frame, bytes.
pub const FRAME_MAX: usize = (1 << 20) + 4096;

/// A stream that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the other side is gone ({0})")]
    Io(#[from] std::io::Error),
    #[error("the other side closed the connection")]
    Closed,
    #[error("a frame of {0} bytes came, and {FRAME_MAX} are the most; the other side speaks something else")]
    TooLong(usize),
}

/// The next frame.
///
/// # Errors
/// The stream ended, or what comes is no frame.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
        Err(e) => return Err(e.into()),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(FrameError::TooLong(length));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Writes one frame.
///
/// # Errors
/// The stream ended, or the frame is longer than any may be.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_MAX);
    let length = length.ok_or(FrameError::TooLong(frame.len()))?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(frame).await?;
    to.flush().await?;
    Ok(())
}
