//! Finds the eBPF object that `make bpf` built; it never builds it itself, so that plain cargo
//! needs no second tool chain.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=THALWEG_BPF_OBJECT");
    let object = match env::var_os("THALWEG_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => {
            let next = env::var_os("CARGO_FEATURE_LAYOUT_NEXT").is_some();
            let name = if next { "thalweg-bpf-layout-next.o" } else { "thalweg-bpf.o" };
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf").join(name)
        }
    };
    println!("cargo:rerun-if-changed={}", object.display());
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("thalweg-bpf.o");
    if let Err(error) = fs::copy(&object, &target) {
        println!(
            "cargo::error=no eBPF object at {} ({error}); run `make bpf` first, or set \
             THALWEG_BPF_OBJECT to one",
            object.display()
        );
    }
}
