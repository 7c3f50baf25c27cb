//! What a ping carries, so that its pong can be told from others.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use tungstenite::Bytes;

/// Eight bytes that no pong carries by accident: from keys that the standard library draws for each
/// thread, and a number that makes two of the same thread differ.
pub(super) fn nonce() -> Bytes {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = RandomState::new().hash_one(number);
    Bytes::copy_from_slice(&hash.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::nonce;
    use std::collections::HashSet;

    #[test]
    fn no_two_are_the_same() {
        let nonces: HashSet<_> = (0..1000).map(|_| nonce()).collect();
        assert_eq!(nonces.len(), 1000);
        assert!(nonces.iter().all(|nonce| nonce.len() == 8));
    }
}
