//! The keys of an encoded block, and the byte that says that it is encoded.
//!
//! The search for the block gave the constant that both keys and the byte's
//! address make up; it decodes without them. They are told apart because the
//! address must lie in the kernel and the byte be 1: hardly ever by chance.

use vmss2core_mem::Gva;

use super::super::view::View;
use super::super::{KdbgEncoding, KdbgKeys};
use super::places::{self, Place};

/// Words from `KiWaitNever` to `KiWaitAlways`, in all kernels that were looked at.
const FIRST: usize = 0xa0 / 8;
const LAST: usize = 0x500 / 8;

/// The only keys among the kernel's variables that make up the constant.
pub(super) fn find(view: &View, variables: &[Place], encoding: KdbgEncoding) -> Option<KdbgKeys> {
    let mut found: Vec<KdbgKeys> = Vec::new();
    let several = places::search(view, variables, &mut |_, bytes| {
        let words = super::code::words(bytes);
        let never = words.iter().enumerate();
        let rotates = |word: u64| word & 0x3f == u64::from(encoding.rotation);
        for (at, never) in never.filter(|(_, word)| rotates(**word)) {
            for always in words.iter().skip(at).take(LAST + 1).skip(FIRST) {
                let keys = keys(*never, *always, encoding);
                let is_new = is_variable(variables, keys.flag) && !found.contains(&keys);
                if is_new && view.uint(keys.flag, 1) == Some(1) {
                    found.push(keys);
                }
            }
        }
        (found.len() > 1).then_some(())
    });
    if several.is_some() { None } else { found.pop() }
}

/// The keys with the address that they make the constant with.
fn keys(wait_never: u64, wait_always: u64, encoding: KdbgEncoding) -> KdbgKeys {
    let turned = wait_never.rotate_left(encoding.rotation);
    let flag = Gva((encoding.constant ^ wait_always).swap_bytes() ^ turned);
    KdbgKeys { wait_never, wait_always, flag }
}

fn is_variable(variables: &[Place], at: Gva) -> bool {
    let inside =
        |place: &Place| at.0.checked_sub(place.start.0).is_some_and(|skip| skip < place.len);
    variables.iter().any(inside)
}
