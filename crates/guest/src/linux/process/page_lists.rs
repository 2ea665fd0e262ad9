//! Page caches of 2.4: each `address_space` has three lists of its pages
//! (include/linux/fs.h and mm.h of 2.4).

use std::collections::BTreeMap;

use vmss2core_mem::Gva;

use super::super::Kernel;

/// Where lists begin in an `address_space`.
const LISTS: [&str; 3] = ["clean_pages", "dirty_pages", "locked_pages"];

/// Where the lists are, and what they lead through.
#[derive(Clone, Debug)]
pub(super) struct PageLists {
    heads: Vec<u64>,
    /// `page.list` and `page.index`.
    node_at: u64,
    index_at: u64,
}

impl PageLists {
    /// `None` if something needed is not known.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        let layout = kernel.layout();
        let at = |structure, member| Some(layout.member(structure, member)?.value.offset_bytes);
        let heads = LISTS.map(|list| at("address_space", list));
        let heads: Vec<u64> = heads.into_iter().collect::<Option<_>>()?;
        Some(Self { heads, node_at: at("page", "list")?, index_at: at("page", "index")? })
    }

    /// The pages of a file by their numbers; `None` if a list is torn. `left` limits how
    /// many are read.
    pub(super) fn pages(
        &self,
        kernel: &Kernel,
        mapping: Gva,
        left: &mut u64,
    ) -> Option<BTreeMap<u64, u64>> {
        let read = |at: u64| kernel.read_pointer(Gva(at), "struct page").ok().map(|gva| gva.0);
        let mut pages = BTreeMap::new();
        for head in &self.heads {
            let head = mapping.0.checked_add(*head)?;
            for node in nodes(head, kernel.word_len(), &read, left)? {
                let page = node.checked_sub(self.node_at)?;
                pages.insert(read(page.checked_add(self.index_at)?)?, page);
            }
        }
        Some(pages)
    }
}

/// The nodes of a list; `None` if one does not lead back to the one before it, so that no
/// list leads in a circle.
pub(in crate::linux) fn nodes(
    head: u64,
    word_len: u64,
    read: &dyn Fn(u64) -> Option<u64>,
    left: &mut u64,
) -> Option<Vec<u64>> {
    let mut nodes = Vec::new();
    let (mut before, mut at) = (head, read(head)?);
    loop {
        (read(at.checked_add(word_len)?)? == before).then_some(())?;
        if at == head {
            return Some(nodes);
        }
        *left = left.checked_sub(1)?;
        nodes.push(at);
        (before, at) = (at, read(at)?);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The nodes of a list of words at multiples of 0x10.
    fn listed(words: &[(u64, u64)]) -> Option<Vec<u64>> {
        let words: HashMap<u64, u64> = words.iter().copied().collect();
        nodes(0x100, 4, &|at| words.get(&at).copied(), &mut 5)
    }

    #[test]
    fn a_list_is_followed_to_its_end() {
        assert_eq!(listed(&[(0x100, 0x100), (0x104, 0x100)]), Some(Vec::new()));
        let two = [
            (0x100, 0x200),
            (0x104, 0x300),
            (0x200, 0x300),
            (0x204, 0x100),
            (0x300, 0x100),
            (0x304, 0x200),
        ];
        assert_eq!(listed(&two), Some(vec![0x200, 0x300]));
    }

    #[test]
    fn a_torn_list_is_none() {
        assert_eq!(listed(&[(0x100, 0x200)]), None);
        let circle = [(0x100, 0x200), (0x104, 0x200), (0x200, 0x200), (0x204, 0x100)];
        assert_eq!(listed(&circle), None);
        let long: Vec<(u64, u64)> = (1..9)
            .flat_map(|node| {
                let at = 0x100 * node;
                [(at, at + 0x100), (at + 4, at - 0x100)]
            })
            .collect();
        assert_eq!(listed(&long), None, "there is a limit");
    }
}
