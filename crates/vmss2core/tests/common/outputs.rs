//! What no writer may do, tried on one: take an input for its output, whatever the
//! output is called; follow a link that nobody typed; replace without being told to;
//! let others read it; leave something behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

/// A way to write a file.
pub struct Writer<'w> {
    /// Its command line; `OUT` stands for the output's name if that is typed.
    pub line: &'w str,
    /// The output's name if it is not.
    pub implied: Option<&'w str>,
    /// The option that lets it replace a file, if it needs one.
    pub force: &'w str,
}

/// Where it is tried: a directory with the inputs and nothing else, and the program.
pub struct Lab<'l> {
    pub dir: &'l Path,
    pub inputs: &'l [&'l str],
    pub run: &'l dyn Fn(&[&str]) -> Output,
}

impl Lab<'_> {
    /// Tries everything.
    pub fn check(&self, writer: &Writer<'_>) {
        match writer.implied {
            Some(name) => self.check_implied(writer, name),
            None => self.check_typed(writer),
        }
        self.writes(writer, writer.implied.unwrap_or("free"));
    }

    fn check_typed(&self, writer: &Writer<'_>) {
        symlink(".", self.dir.join("dir")).unwrap();
        for input in self.inputs {
            symlink(input, self.dir.join("link")).unwrap();
            fs::hard_link(self.dir.join(input), self.dir.join("hard")).unwrap();
            let through_dir = format!("dir/{input}");
            for name in [*input, "link", "hard", through_dir.as_str()] {
                self.refuses(writer, name, writer.force, "part of the checkpoint");
            }
            self.remove(&["link", "hard"]);
        }
        self.remove(&["dir"]);
        fs::write(self.dir.join("there"), "theirs").unwrap();
        symlink("nowhere", self.dir.join("dangling")).unwrap();
        for name in ["there", "dangling"] {
            self.refuses(writer, name, "", "exists");
        }
        assert_eq!(fs::read(self.dir.join("there")).unwrap(), b"theirs");
        self.writes(writer, "there");
        self.remove(&["dangling"]);
    }

    fn check_implied(&self, writer: &Writer<'_>, name: &str) {
        fs::write(self.dir.join("theirs"), "theirs").unwrap();
        for target in ["theirs", "nowhere", self.inputs.first().unwrap()] {
            symlink(target, self.dir.join(name)).unwrap();
            self.refuses(writer, name, writer.force, "symbolic link");
            self.remove(&[name]);
        }
        assert_eq!(fs::read(self.dir.join("theirs")).unwrap(), b"theirs");
        assert!(!self.dir.join("nowhere").exists());
        self.remove(&["theirs"]);
        for input in self.inputs {
            fs::hard_link(self.dir.join(input), self.dir.join(name)).unwrap();
            self.refuses(writer, name, writer.force, "");
            self.remove(&[name]);
        }
        fs::write(self.dir.join(name), "old").unwrap();
        self.writes(writer, name);
    }

    fn refuses(&self, writer: &Writer<'_>, name: &str, force: &str, why: &str) {
        let before = (self.names(), self.snapshot());
        let (what, ended) = self.run(writer, name, force);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(matches!(ended.status.code(), Some(1 | 2)), "{what}: {ended:?}");
        assert!(said.contains(why), "{what}: {said}");
        assert_eq!((self.names(), self.snapshot()), before, "{what}: {said}");
    }

    fn writes(&self, writer: &Writer<'_>, name: &str) {
        let before = self.snapshot();
        let (what, ended) = self.run(writer, name, writer.force);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(matches!(ended.status.code(), Some(0 | 4)), "{what}: {said}");
        assert_eq!(self.snapshot(), before, "{what}: {said}");
        let written = fs::symlink_metadata(self.dir.join(name)).unwrap();
        assert!(written.is_file() && written.len() > 6, "{what}: {written:?}");
        assert_eq!(written.permissions().mode() & 0o777, 0o600, "{what}");
        let temporary: Vec<String> =
            self.names().into_iter().filter(|name| name.starts_with('.')).collect();
        assert!(temporary.is_empty(), "{what}: {temporary:?}");
        self.remove(&[name]);
    }

    fn run(&self, writer: &Writer<'_>, name: &str, force: &str) -> (String, Output) {
        let line = format!("{} {force}", writer.line);
        let words: Vec<&str> =
            line.split_whitespace().map(|word| if word == "OUT" { name } else { word }).collect();
        (format!("{line}, {name}"), (self.run)(&words))
    }

    /// The inputs: which files they are, and whether they were written to.
    fn snapshot(&self) -> Vec<(u64, u64, i64, i64)> {
        let of = |name: &&str| {
            let found = fs::metadata(self.dir.join(name)).unwrap();
            (found.ino(), found.len(), found.mtime(), found.mtime_nsec())
        };
        self.inputs.iter().map(of).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn remove(&self, names: &[&str]) {
        for name in names {
            fs::remove_file(self.dir.join(name)).unwrap();
        }
    }
}
