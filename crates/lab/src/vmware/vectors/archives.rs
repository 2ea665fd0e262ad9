//! Vectors that come in pieces, packed, or as the debug dump of a monitor.

use anyhow::Result;

use super::super::bundle::{Named, folder, fragments, gzip, tar};
use super::super::contents::Contents;
use super::super::guestdump::guest_dump;
use super::super::machine::Machine;
use super::super::shape::Shape;
use super::{Expect, Known, Vector, monolithic, plain, small};

pub(super) fn vectors() -> Result<Vec<Vector>> {
    let mut all = guest_dumps()?;
    all.extend(pieces()?);
    all.extend(bundles()?);
    all.extend(bombs()?);
    Ok(all)
}

fn guest_dumps() -> Result<Vec<Vector>> {
    let machines = [
        small(),
        Machine::synthetic(&[(0, 0x1_0000), (4 << 30, 0x1_0000)], 2),
        Machine::synthetic(&[(0, 0x8000), (4 << 30, 0x8000), (1 << 36, 0x8000)], 2),
    ];
    let mut all = Vec::new();
    for version in [1, 3, 4, 5, 6, 7] {
        for (holes, machine) in machines.iter().enumerate() {
            let files = dump(machine, version)?;
            let expect = Expect::opens(machine, Known::GuestDump);
            all.push(Vector::new(&format!("17-guest-{version}-holes-{holes}"), files, expect));
        }
    }
    let zipped = dump(&small(), 5)?
        .into_iter()
        .map(|(name, contents)| Ok((format!("{name}.gz"), gzip(&contents)?)))
        .collect::<Result<Vec<Named>>>()?;
    all.push(Vector::new("17-guest-gz", zipped, Expect::opens(&small(), Known::GuestDump)));
    Ok(all)
}

fn dump(machine: &Machine, version: u32) -> Result<Vec<Named>> {
    let state = guest_dump(machine, version)?;
    Ok(vec![("debug.guest".to_owned(), state), ("debug.vmem".to_owned(), machine.ram.clone())])
}

fn whole_file() -> Result<Contents> {
    let (_, files) = plain(&small(), &monolithic())?;
    Ok(files.into_iter().next().map(|(_, contents)| contents).unwrap_or_default())
}

fn pieces() -> Result<Vec<Vector>> {
    let all = fragments("x.vmss", &whole_file()?, 12);
    let missing: Vec<Named> =
        all.iter().filter(|(name, _)| !name.ends_with("00005")).cloned().collect();
    // Without leading zeroes the shell would put 10 before 2.
    let unpadded: Vec<Named> = (0..)
        .zip(&all)
        .map(|(number, (_, piece))| (format!("x.vmss.FRAG-{number}"), piece.clone()))
        .collect();
    let opens = || Expect::opens(&small(), Known::All);
    let mut from_folder = Vector::new("18-pieces-by-folder", all.clone(), opens());
    from_folder.inputs = vec![".".to_owned()];
    Ok(vec![
        Vector::new("18-twelve-pieces", all, opens()),
        from_folder,
        Vector::new("18-piece-missing", missing, Expect::fails(&["5"])),
        Vector::new("18-pieces-of-odd-width", unpadded, opens()),
    ])
}

fn bundles() -> Result<Vec<Vector>> {
    let file = vec![("x-1a2b3c4d.vmss".to_owned(), whole_file()?)];
    let entries = folder(&file, 5)?;
    let opens = || Expect::opens(&small(), Known::All);
    let inside = |name: &str| format!("esx-host/{name}");
    let unpacked: Vec<Named> = entries.iter().map(|(n, c)| (inside(n), c.clone())).collect();
    let missing: Vec<Named> =
        unpacked.iter().filter(|(n, _)| !n.ends_with("00003")).cloned().collect();
    let packed = |entries: &[Named]| -> Result<Vec<Named>> {
        Ok(vec![("esx-host.tgz".to_owned(), gzip(&tar(entries)?)?)])
    };
    // Pieces in an archive need not be in order.
    let mut shuffled = unpacked.clone();
    shuffled.reverse();
    let escaping = vec![
        ("../../escaped.vmss".to_owned(), whole_file()?),
        ("/tmp/vmss2core-escaped.vmss".to_owned(), whole_file()?),
    ];
    let (_, split) = plain(&small(), &Shape::default())?;
    let mut by_folder = Vector::new("18-bundle-unpacked", unpacked.clone(), opens());
    by_folder.inputs = vec!["esx-host".to_owned()];
    Ok(vec![
        by_folder,
        Vector::new("18-bundle-packed", packed(&unpacked)?, opens()),
        Vector::new("18-bundle-packed-shuffled", packed(&shuffled)?, opens()),
        Vector::new("18-bundle-split-inside", packed(&folder(&split, 3)?)?, opens()),
        Vector::new("18-bundle-piece-missing", packed(&missing)?, Expect::fails(&["3"])),
        Vector::new("18-bundle-escaping-names", packed(&escaping)?, Expect::Survives),
    ])
}

fn bombs() -> Result<Vec<Vector>> {
    let endless = gzip(&Contents::hole(64 << 20))?;
    let cut = gzip(&whole_file()?)?;
    let cut = cut.truncated(cut.len() / 2);
    let nested = gzip(&gzip(&gzip(&gzip(&whole_file()?)?)?)?)?;
    let named = |contents: Contents| vec![("x.vmss.gz".to_owned(), contents)];
    Ok(vec![
        Vector::new("14-gzip-of-zeroes", named(endless), Expect::Survives),
        Vector::new("13-gzip-cut", named(cut), Expect::damaged(&small())),
        Vector::new("14-gzip-in-gzip", named(nested), Expect::Survives),
    ])
}
