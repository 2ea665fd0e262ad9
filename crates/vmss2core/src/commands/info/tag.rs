//! `info --tag`: the raw bytes of one item, to stdout.

use std::io::Write;

use anyhow::bail;
use vmss2core_checkpoint::{Inventory, Item, ItemKind};

use crate::exit::Exit;
use crate::output;

/// How many items a message lists.
const LISTED: usize = 10;

pub(super) fn run(inventory: &Inventory, wanted: &str) -> anyhow::Result<Exit> {
    let item = find(inventory, wanted)?;
    let mut out = output::stdout();
    inventory.copy_to(item, &mut out)?;
    out.flush()?;
    if item.kind == ItemKind::CompressedBlock {
        output::talk(&format!(
            "vmss2core: note: {wanted} is compressed: {} bytes here, {} unpacked",
            item.size_in_file, item.size_in_memory
        ));
    }
    Ok(Exit::Done)
}

fn find<'a>(inventory: &'a Inventory, wanted: &str) -> anyhow::Result<&'a Item> {
    let exact: Vec<&Item> =
        inventory.items.iter().filter(|item| item.to_string() == wanted).collect();
    match exact.as_slice() {
        [item] => Ok(item),
        [] => bail!("no item is called {wanted}{}", list("near it:", &near(inventory, wanted))),
        several => {
            bail!("{} items are called {wanted}{}", several.len(), list("they are:", several))
        }
    }
}

/// Items whose name has to do with the wanted one, best first: the same but for
/// indices or case, then those that contain its last part.
fn near<'a>(inventory: &'a Inventory, wanted: &str) -> Vec<&'a Item> {
    let wanted = wanted.to_lowercase();
    let plain = without_indices(&wanted);
    let name = plain.rsplit('/').next().unwrap_or(plain);
    let label = |item: &Item| item.to_string().to_lowercase();
    let same = |item: &&Item| without_indices(&label(item)) == plain;
    let alike = |item: &&Item| !name.is_empty() && label(item).contains(name);
    let first = inventory.items.iter().filter(same);
    first.chain(inventory.items.iter().filter(|item| !same(item) && alike(item))).collect()
}

fn without_indices(label: &str) -> &str {
    label.find('[').and_then(|at| label.get(..at)).unwrap_or(label)
}

fn list(title: &str, items: &[&Item]) -> String {
    if items.is_empty() {
        return "; --tags lists all".to_owned();
    }
    let mut lines = vec![format!("; {title}")];
    lines.extend(
        items
            .iter()
            .take(LISTED)
            .map(|item| format!("  {item} at {:#x}, {} bytes", item.offset, item.size_in_file)),
    );
    if items.len() > LISTED {
        lines.push(format!("  and {} more; --tags lists all", items.len().saturating_sub(LISTED)));
    }
    lines.join("\n")
}
