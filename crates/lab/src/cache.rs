//! Where downloads, kernels, guests and judges are kept between runs.
//!
//! Every entry is made once, under a lock, in a temporary folder that is renamed
//! when it is complete: what is there is whole. Its name carries a hash of the
//! recipe it was made by, so that a changed recipe makes a new one.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder that holds everything: `$VMSS2CORE_LAB_CACHE`, or `vmss2core/lab`
/// in the user's cache folder. It is made if it is not there.
pub fn dir() -> Result<PathBuf> {
    let dir = match env::var_os("VMSS2CORE_LAB_CACHE") {
        Some(own) => PathBuf::from(own),
        None => user_cache()?.join("vmss2core/lab"),
    };
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

fn user_cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")
}

/// The folder `name` of the cache, filled by `make` the first time.
///
/// Several processes may ask at once: one makes it, the others wait. `make` works
/// in a folder of another name, so what fails half-way never counts.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = dir()?.join(name);
    if path.exists() {
        return Ok(path);
    }
    let _lock = lock(name)?;
    if path.exists() {
        return Ok(path);
    }
    let parent = path.parent().context("the cache has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let leaf = path.file_name().context("an entry has a name")?.to_string_lossy();
    let prefix = format!("unfinished-{leaf}-");
    remove_unfinished(parent, &prefix)?;
    let unfinished = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?;
    make(unfinished.path()).with_context(|| format!("making {}", path.display()))?;
    let made = unfinished.keep();
    fs::rename(&made, &path).with_context(|| format!("keeping {}", path.display()))?;
    Ok(path)
}

/// What a process left that was killed: whoever holds the lock knows it is dead.
fn remove_unfinished(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Name for [`once`] of something made by `recipe`: a changed recipe is another name.
pub fn versioned(name: &str, recipe: &str) -> String {
    format!("{name}-{:016x}", hash(recipe))
}

/// Holds the lock `name` of all processes that use this cache, until dropped.
pub fn lock(name: &str) -> Result<File> {
    let locks = dir()?.join("locks");
    fs::create_dir_all(&locks).with_context(|| format!("making {}", locks.display()))?;
    let path = locks.join(name.replace('/', "-"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.lock().with_context(|| format!("waiting for the lock {}", path.display()))?;
    Ok(file)
}

/// FNV-1a: stable across versions of everything, which the standard hasher is not.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_recipe_is_another_name() {
        let one = versioned("guests/g", "-m 512");
        assert_eq!(one, versioned("guests/g", "-m 512"));
        assert_ne!(one, versioned("guests/g", "-m 513"));
    }
}
