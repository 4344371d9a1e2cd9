//! `docs/format.md` shows bytes that this code writes.

use super::samples;

/// `bytes` as the page prints them: sixteen to a line, behind their offset.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let line = |(row, bytes): (usize, &[u8])| {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", 16 * row, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

/// Panics unless the page shows exactly `bytes`.
pub(crate) fn assert_on_page(bytes: &[u8]) {
    let page = include_str!("../../../docs/format.md");
    let dump = dump(bytes);
    assert!(page.contains(&dump), "docs/format.md should show\n{dump}");
}

#[test]
fn the_ident_on_the_page_is_real() {
    assert_on_page(&samples::ident().encode());
}
