//! What a state file holds, item by item, for `info --tags` and `--tag`.

use std::io::{self, Write};
use std::sync::Arc;

use vmss2core_mem::ReadAt;

/// One named value of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Group it stands in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its indices, none to three.
    pub indices: Vec<u32>,
    /// File offset of its data.
    pub offset: u64,
    /// Bytes it takes in the file.
    pub size_in_file: u64,
    /// Bytes it has once decompressed; the same as `size_in_file` if plain.
    pub size_in_memory: u64,
    /// The value itself where it is at most 64 bytes and plain.
    pub value: Option<Vec<u8>>,
}

/// All items of a state file, in file order.
#[derive(Clone)]
pub struct Inventory {
    /// The items.
    pub items: Vec<Item>,
    source: Arc<dyn ReadAt>,
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inventory({} items)", self.items.len())
    }
}

impl Inventory {
    /// An inventory whose data lie in `source`.
    pub fn new(items: Vec<Item>, source: Arc<dyn ReadAt>) -> Self {
        Self { items, source }
    }

    /// Copies the bytes of `item` as they lie in the file.
    pub fn copy_to(&self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        let mut buf = [0; 64 * 1024];
        let mut done = 0;
        while done < item.size_in_file {
            let len =
                usize::try_from(item.size_in_file - done).map_or(buf.len(), |n| n.min(buf.len()));
            let (chunk, _) = buf.split_at_mut(len);
            self.source.read_exact_at(item.offset + done, chunk)?;
            out.write_all(chunk)?;
            done += len as u64;
        }
        Ok(())
    }
}
