//! The payload of a ping, which identifies its pong.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use tungstenite::Bytes;

/// Returns eight bytes that no other pong contains by accident. They combine random keys that the standard
/// library draws for each thread with a counter, which makes two nonces of one thread differ.
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
