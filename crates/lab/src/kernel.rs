//! Kernels out of Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::apt::{self, Package, Wanted};
use crate::cache;
use crate::command::succeed;
use crate::source;

/// A module that depends on no other and that every kernel has.
const MODULE: &str = "loop";
const VMLINUX: &str = "vmlinux";
const MODULES: &str = "modules";

/// Modules whose debug information is fetched together with the kernel's: whose
/// functions are on the stacks of the guest that loads many.
const DEBUG_MODULES: (&str, &[&str]) = (
    "linux-6.1-amd64",
    &[
        "drivers/block/virtio_blk.ko",
        "drivers/block/zram/zram.ko",
        "drivers/md/dm-mod.ko",
        "drivers/scsi/scsi_mod.ko",
        "drivers/virtio",
        "fs/ext4/ext4.ko",
        "fs/jbd2/jbd2.ko",
        "mm/zsmalloc.ko",
    ],
);

/// Which kernel, and where its pieces are.
#[derive(Clone, Copy, Debug)]
pub struct KernelRecipe {
    /// Name of the cache entry.
    pub name: &'static str,
    /// The package with the kernel image.
    pub image: Wanted,
    /// Whether a package `linux-modules-...` has the modules.
    pub separate_modules: bool,
    /// Whether a 64-bit kernel.
    pub is_64_bit: bool,
}

/// A kernel that is there.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Folder in the cache.
    pub dir: PathBuf,
    /// Where it came from.
    pub package: KernelPackage,
    debug_modules: &'static [&'static str],
}

/// What is remembered of the package.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelPackage {
    /// `uname -r`.
    pub release: String,
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
}

impl KernelRecipe {
    /// Fetches the kernel, or finds it in the cache.
    pub fn get(&self) -> Result<Kernel> {
        let dir = cache::once(&self.entry(), |dir| self.make(dir))?;
        let text = fs::read(dir.join("package.json"))?;
        let package = serde_json::from_slice(&text).context("reading package.json")?;
        let (name, modules) = DEBUG_MODULES;
        let debug_modules = if name == self.name { modules } else { &[] };
        Ok(Kernel { dir, package, debug_modules })
    }

    /// Whether it is compiled here.
    pub(crate) fn is_built(&self) -> bool {
        source::configuration(self.name).is_some()
    }

    /// How it is configured, if it is compiled here.
    pub(crate) fn configuration(&self) -> String {
        source::configuration(self.name).unwrap_or_default()
    }

    fn entry(&self) -> String {
        let configuration = self.configuration();
        let identity = format!("{self:?} {MODULE}{configuration}");
        cache::versioned(&format!("kernels/{}", self.name), &identity)
    }

    fn make(&self, dir: &Path) -> Result<()> {
        let work = tempfile::tempdir_in(dir)?;
        let package = match source::configuration(self.name) {
            Some(configuration) => {
                let package = source::build(&self.image, &configuration, work.path())?;
                fs::rename(work.path().join(VMLINUX), dir.join(VMLINUX))?;
                package
            }
            None => apt::unpack_newest(&self.image, work.path())?,
        };
        let image = find(work.path(), "vmlinuz")?.context("the package has no vmlinuz")?;
        let release = release_of(&image)?;
        if self.separate_modules {
            let name = format!("linux-modules-{release}");
            let modules = Package { name, ..package.clone() };
            apt::unpack(&[&modules.exact()], &[], work.path())?;
        }
        fs::rename(&image, dir.join("vmlinuz"))?;
        keep_module(MODULE, work.path(), dir)?;
        let Package { name, version, architecture } = package;
        let package = KernelPackage { release, name, version, architecture };
        fs::write(dir.join("package.json"), serde_json::to_vec_pretty(&package)?)?;
        Ok(())
    }
}

impl Kernel {
    /// The kernel image to boot.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The one module that guests load.
    pub fn module(&self) -> PathBuf {
        self.dir.join(format!("{MODULE}.ko"))
    }

    /// Another module, out of the package of the kernel's image.
    pub fn other_module(&self, name: &str) -> Result<PathBuf> {
        let package = &self.package;
        let entry = format!("modules/{}-{name}", package.release);
        let dir = cache::once(&cache::versioned(&entry, &package.version), |dir| {
            let work = tempfile::tempdir_in(dir)?;
            apt::unpack(&[&self.image_package().exact()], &[], work.path())?;
            keep_module(name, work.path(), dir)
        })?;
        Ok(dir.join(format!("{name}.ko")))
    }

    /// The folder with all its modules, as it is below `/lib/modules`.
    pub(crate) fn all_modules(&self) -> Result<PathBuf> {
        let KernelPackage { release, version, .. } = &self.package;
        let entry = cache::versioned(&format!("modules/{release}"), version);
        cache::once(&entry, |dir| {
            let work = tempfile::tempdir_in(dir)?;
            apt::unpack(&[&self.image_package().exact()], &[], work.path())?;
            let modules = work.path().join("lib/modules").join(release);
            for entry in fs::read_dir(modules)? {
                let entry = entry?;
                fs::rename(entry.path(), dir.join(entry.file_name()))?;
            }
            Ok(())
        })
    }

    fn image_package(&self) -> Package {
        let KernelPackage { name, version, architecture, .. } = self.package.clone();
        Package { name, version, architecture }
    }

    /// The kernel with DWARF, fetched on first use (300 MB).
    pub fn vmlinux(&self) -> Result<PathBuf> {
        if let Some(own) = self.own_vmlinux() {
            return Ok(own);
        }
        let dir = cache::once(&self.vmlinux_entry(), |dir| self.fetch_vmlinux(dir))?;
        Ok(dir.join("vmlinux"))
    }

    /// The folder with the debug information of modules, beside that of the kernel.
    pub fn debug_modules(&self) -> Result<PathBuf> {
        Ok(self.vmlinux()?.with_file_name(MODULES))
    }

    /// The kernel with DWARF if it is in the cache.
    pub fn cached_vmlinux(&self) -> Result<Option<PathBuf>> {
        if let Some(own) = self.own_vmlinux() {
            return Ok(Some(own));
        }
        let path = cache::dir()?.join(self.vmlinux_entry()).join("vmlinux");
        Ok(path.exists().then_some(path))
    }

    /// That of a kernel that was built here.
    fn own_vmlinux(&self) -> Option<PathBuf> {
        let path = self.dir.join(VMLINUX);
        path.exists().then_some(path)
    }

    fn vmlinux_entry(&self) -> String {
        cache::versioned(&format!("vmlinux/{}", self.package.release), &self.package.version)
    }

    fn fetch_vmlinux(&self, dir: &Path) -> Result<()> {
        let KernelPackage { release, version, architecture, .. } = &self.package;
        let package = Package {
            name: format!("linux-image-{release}-dbg"),
            version: version.clone(),
            architecture: architecture.clone(),
        };
        let modules = format!("./usr/lib/debug/lib/modules/{release}/kernel");
        let modules = self.debug_modules.iter().map(|module| format!("{modules}/{module}"));
        let members: Vec<_> =
            ["./usr/lib/debug/boot".to_owned()].into_iter().chain(modules).collect();
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        let work = tempfile::tempdir_in(dir)?;
        apt::unpack(&[&package.exact()], &members, work.path()).with_context(|| {
            format!("if mirrors have a newer kernel only, remove {}", self.dir.display())
        })?;
        if !self.debug_modules.is_empty() {
            let modules = work.path().join("usr/lib/debug/lib/modules").join(release);
            fs::rename(modules, dir.join(MODULES))?;
        }
        let file = find(work.path(), "vmlinux")?.context("the package has no vmlinux")?;
        fs::rename(file, dir.join("vmlinux"))?;
        Ok(())
    }
}

/// The release is in the file's name, or else in its folder's.
fn release_of(image: &Path) -> Result<String> {
    let name = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = image.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match (name.strip_prefix("vmlinuz-"), folder) {
        (Some(release), _) => Ok(release.to_owned()),
        (None, Some(folder)) => Ok(folder.to_owned()),
        (None, None) => bail!("no release in the name of {}", image.display()),
    }
}

/// Modules are compressed since Debian 13; the guest's busybox wants them plain.
fn keep_module(name: &str, from: &Path, dir: &Path) -> Result<()> {
    let module = find(from, &format!("{name}.ko"))?;
    let module = module.with_context(|| format!("the package has no module {name}"))?;
    let kept = dir.join(module.file_name().context("a file without a name")?);
    fs::rename(&module, &kept)?;
    if kept.extension().is_some_and(|extension| extension == "xz") {
        succeed(Command::new("xz").arg("-d").arg(&kept), Duration::from_mins(1))?;
    }
    Ok(())
}

/// The first file below `dir` whose name starts with `prefix`.
fn find(dir: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() && entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && let Some(found) = find(&entry.path(), prefix)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
