//! Bytes per key at the size that the figures are given for.

use super::Rig;

/// 1 M keys of 16 bytes with values of 100 bytes: at most 160 bytes of memory each.
#[test]
fn a_million_keys_cost_at_most_160_bytes_each() {
    for reserved in [false, true] {
        let mut rig = Rig::new();
        if reserved {
            rig.state.reserve(1_000_000, 124_000_000);
        }
        for key in 0..1_000_000_u64 {
            let mut name = [0; 16];
            name[..8].copy_from_slice(&key.to_le_bytes());
            rig.put(&name, &[1; 100]);
        }
        assert_eq!(rig.state.len(), 1_000_000);
        assert_eq!(rig.state.bytes(), 116_000_000);
        let memory = rig.state.memory_bytes();
        assert!(memory <= 160_000_000, "{} bytes per key, reserved: {reserved}", memory / 1_000_000);
    }
}
