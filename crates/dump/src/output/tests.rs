use super::*;

const EACH: [Existing; 3] = [Existing::Stays, Existing::IsReplaced, Existing::IsReplacedUnlessLink];

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn put(path: &Path, existing: Existing, inputs: &Provenance) -> Result<(), DumpError> {
    write(path, existing, inputs, b"new")
}

#[test]
fn a_name_that_is_free_is_taken_in_every_way() {
    for existing in EACH {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("out"), existing, &Provenance::default()).unwrap();
        assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["out"]);
    }
}

#[test]
fn a_file_that_appears_meanwhile_stays_where_it_is_to_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let output = Output::create(&path, Existing::Stays, &Provenance::default()).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(output.persist(), Err(DumpError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    assert_eq!(names(dir.path()), ["out"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_only_for_names_that_were_typed() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join("link"));
    for (target, is_there) in [("elsewhere", true), ("nowhere", false)] {
        fs::write(&elsewhere, "theirs").unwrap();
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        let nothing = Provenance::default();
        let refused = put(&link, Existing::Stays, &nothing).unwrap_err();
        assert!(matches!(refused, DumpError::Exists { .. }), "{refused}");
        let refused = put(&link, Existing::IsReplacedUnlessLink, &nothing).unwrap_err();
        assert!(matches!(refused, DumpError::IsLink { .. }), "{refused}");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"theirs");
        put(&link, Existing::IsReplaced, &nothing).unwrap();
        assert_eq!(fs::read(&link).unwrap(), b"new");
        assert_eq!(fs::symlink_metadata(&link).unwrap().is_symlink(), is_there);
    }
    assert_eq!(names(dir.path()), ["elsewhere", "link"]);
}

#[cfg(unix)]
#[test]
fn an_input_is_no_output_under_any_of_its_names() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("vm.vmem"), "memory").unwrap();
    symlink("vm.vmem", at("link")).unwrap();
    fs::hard_link(at("vm.vmem"), at("hard")).unwrap();
    symlink(".", at("dir")).unwrap();
    let output = at("output");
    fs::write(&output, "output").unwrap();
    for read_as in ["vm.vmem", "link", "hard", "dir/vm.vmem"] {
        let inputs = Provenance { host_files: vec![at(read_as)], ..Provenance::default() };
        for name in ["vm.vmem", "link", "hard", "dir/vm.vmem", "dir/dir/hard"] {
            for existing in EACH {
                put(&at(name), existing, &inputs).unwrap_err();
                link(&output, &at(name), existing, &inputs).unwrap_err();
            }
            let refused = put(&at(name), Existing::IsReplaced, &inputs).unwrap_err();
            assert!(matches!(refused, DumpError::IsInput { .. }), "{read_as} {name}: {refused}");
        }
    }
    assert_eq!(fs::read(at("vm.vmem")).unwrap(), b"memory");
    assert_eq!(names(dir.path()), ["dir", "hard", "link", "output", "vm.vmem"]);
}

#[cfg(unix)]
#[test]
fn outputs_are_for_the_user_alone_but_those_without_secrets() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    put(&dir.path().join("secret"), Existing::Stays, &Provenance::default()).unwrap();
    assert_eq!(mode("secret") & 0o777, 0o600);
    write_readable(&dir.path().join("page"), b"text").unwrap();
    assert_eq!(mode("page") & 0o600, 0o600);
    assert_eq!(mode("page") & 0o133, 0);
}

#[test]
fn a_second_name_replaces_another_file_and_leaves_no_temporary_one() {
    let dir = tempfile::tempdir().unwrap();
    let (output, second) = (dir.path().join("output"), dir.path().join("second"));
    fs::write(&output, "output").unwrap();
    let nothing = Provenance::default();
    link(&output, &second, Existing::Stays, &nothing).unwrap();
    link(&output, &second, Existing::Stays, &nothing).unwrap_err();
    // It is the same file already.
    link(&output, &second, Existing::IsReplacedUnlessLink, &nothing).unwrap();
    fs::remove_file(&second).unwrap();
    fs::write(&second, "another").unwrap();
    link(&output, &second, Existing::IsReplacedUnlessLink, &nothing).unwrap();
    assert_eq!(fs::read(&second).unwrap(), b"output");
    copy(&output, &second, Existing::IsReplaced, &nothing).unwrap();
    assert_eq!(fs::read(&second).unwrap(), b"output");
    assert_eq!(names(dir.path()), ["output", "second"]);
}
