//! A version that this machine is not fit for replaces nothing.

use crate::kill::{alone, leaves, under_load};
use crate::lab::Lab;
use std::path::{Path, PathBuf};

/// Objects as this build embeds them, and as the next version does.
fn object(name: &str) -> PathBuf {
    thalweg_testkit::root().join("target/bpf").join(name)
}

/// Where a section of an ELF file of 64 bits lies (ELF-64 object file format, version 1.5).
fn section(elf: &[u8], wanted: &str) -> Option<usize> {
    let number = |at: usize, len: usize| {
        let octets = elf[at..at + len].iter().rev();
        octets.fold(0usize, |number, octet| number << 8 | usize::from(*octet))
    };
    let (table, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let header = |index: usize| table + index * size;
    let names = number(header(number(0x3e, 2)) + 0x18, 8);
    let name = |index: usize| {
        let text = &elf[names + number(header(index), 4)..];
        &text[..text.iter().position(|octet| *octet == 0).unwrap()]
    };
    let found = (0..count).find(|index| name(*index) == wanted.as_bytes())?;
    Some(number(header(found) + 0x18, 8))
}

/// Where a symbol lies within its section.
fn symbol(elf: &[u8], name: &str) -> Option<usize> {
    let (table, names) = (section(elf, ".symtab")?, section(elf, ".strtab")?);
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    // Entries of 24 octets: the name's place first, the value in octets 8 to 15.
    let mut at = table;
    loop {
        let text = elf.get(names + word(at)? as usize..)?;
        if text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0) {
            return Some(word(at + 8)? as usize);
        }
        at += 24;
    }
}

/// An object whose first program ends before it has a result: the verifier takes no such thing.
fn refused_by_the_verifier(lab: &Lab) -> PathBuf {
    let mut elf = std::fs::read(object("thalweg-bpf.o")).unwrap();
    let at = section(&elf, "xdp").expect("the object has a section xdp");
    let at = at + symbol(&elf, "thalweg_xdp").expect("the object has the program");
    elf[at..at + 8].copy_from_slice(&[0x95, 0, 0, 0, 0, 0, 0, 0]);
    let path = lab.path("broken.o");
    std::fs::write(&path, elf).unwrap();
    path
}

/// Starts an agent with these programs, and waits for its end: exit code and words.
fn tries(lab: &Lab, object: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = lab.run();
    command.args(more).env("THALWEG_FAULT_OBJECT", object);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_version_that_fails_here_never_replaces_the_one_that_runs() {
    let Some(mut lab) = Lab::new("Native") else { return };
    let other = object("thalweg-bpf-layout-next.o");
    if !other.exists() {
        return thalweg_testkit::skipped("the next version was not built (scripts/next.sh)");
    }
    if !lab.starts() {
        return;
    }
    assert!(lab.log().contains("self-test passed"), "{}", lab.log());
    let names = lab.names();
    let broken = refused_by_the_verifier(&lab);
    under_load(&mut lab, "versions that fail", |lab| {
        // Beside the agent that runs, and as its successor.
        for (more, replaces) in [(&["--check"][..], false), (&[], true)] {
            if replaces {
                lab.kill();
            }
            let (code, said) = tries(lab, &other, more);
            assert_eq!(code, Some(4), "{said}");
            assert!(said.contains("fails its self-test and replaces nothing"), "{said}");
            assert!(said.contains("thalweg_xdp on `") && said.contains("wanted "), "{said}");
            alone(lab, &names);
            let (code, said) = tries(lab, &broken, more);
            assert_eq!(code, Some(4), "{said}");
            assert!(said.contains("refused program thalweg_xdp"), "{said}");
            alone(lab, &names);
        }
        lab.start(None);
        lab.until("in force", || lab.in_force());
    });
    leaves(&mut lab);
}

#[test]
fn a_version_is_tried_beside_the_one_that_runs() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    let names = lab.names();
    under_load(&mut lab, "a try", |lab| {
        let output = lab.run().arg("--check").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("self-test passed: "), "{said}");
        alone(lab, &names);
        std::thread::sleep(std::time::Duration::from_millis(500));
    });
    let before = lab.forwarded();
    lab.write("steady.yaml", "kind: Nonsense");
    let output = lab.run().arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the configuration has errors"), "{said}");
    assert_eq!(lab.forwarded(), before, "frames of a self-test are nobody's");
    let around: Vec<String> = std::fs::read_dir(lab.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("check"))
        .collect();
    assert!(around.is_empty(), "{around:?}");
    leaves(&mut lab);
}

#[test]
fn frames_of_self_tests_are_not_counted() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    for _ in 0..2 {
        assert_eq!(lab.forwarded(), 0);
        lab.kill();
        lab.start(None);
        lab.until("in force", || lab.in_force());
    }
    leaves(&mut lab);
}
