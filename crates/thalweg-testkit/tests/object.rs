//! The eBPF object's maps are the tables that the user space writes: same names, rows and flags.

use aya_obj::Object;
use thalweg_abi::event::{self, EventGate, EventRow};
use thalweg_abi::{Counter, TableId};

/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h).
const MAPPABLE: u32 = 1 << 10;
/// `BPF_MAP_TYPE_ARRAY`, `BPF_MAP_TYPE_PERCPU_ARRAY`.
const ARRAY: u32 = 2;
const PER_CPU_ARRAY: u32 = 6;
/// `BPF_MAP_TYPE_RINGBUF`.
const RING: u32 = 27;

fn object() -> Object {
    Object::parse(thalweg_bpf_object::object()).expect("the object is ELF with BTF")
}

#[test]
fn every_table_is_a_mappable_array_of_the_right_rows() {
    let object = object();
    for table in TableId::ALL {
        let name = table.name();
        let map = object.maps.get(name).unwrap_or_else(|| panic!("the object has no map {name}"));
        assert_eq!(map.map_type(), ARRAY, "{name}");
        assert_eq!(map.key_size(), 4, "{name}");
        assert_eq!(map.value_size() as usize, table.row_bytes(), "{name}: octets of a row");
        assert_eq!(map.map_flags() & MAPPABLE, MAPPABLE, "{name} must be mappable");
    }
}

#[test]
fn every_map_is_known() {
    let object = object();
    let known = |name: &str| {
        TableId::ALL.iter().any(|table| table.name() == name)
            || matches!(name, "counters" | "meters" | "packets" | "tracked" | "aside" | "peers")
            || name == thalweg_abi::policy::HITS_NAME
            || [event::RING, event::GATE, event::ROWS].contains(&name)
            || name.starts_with(".rodata")
            || name.starts_with(".bss")
            || name.starts_with(".data")
    };
    let strange: Vec<&String> = object.maps.keys().filter(|name| !known(name)).collect();
    assert!(strange.is_empty(), "maps that nobody writes or reads: {strange:?}");
}

#[test]
fn counters_are_kept_per_processor() {
    let object = object();
    let map = object.maps.get("counters").expect("there are counters");
    assert_eq!(map.map_type(), PER_CPU_ARRAY);
    assert_eq!(map.value_size() as usize, size_of::<Counter>());
    assert_eq!(map.max_entries(), thalweg_abi::counter::COUNTERS);
}

#[test]
fn events_go_through_a_ring_that_has_a_gate() {
    let object = object();
    let map = |name: &str| object.maps.get(name).unwrap_or_else(|| panic!("there is no {name}"));
    let (ring, gate, rows) = (map(event::RING), map(event::GATE), map(event::ROWS));
    assert_eq!((ring.map_type(), ring.max_entries()), (RING, event::RING_BYTES));
    assert_eq!((ring.key_size(), ring.value_size()), (0, 0), "as the kernel wants it");
    assert_eq!((gate.map_type(), gate.value_size() as usize), (ARRAY, size_of::<EventGate>()));
    assert_eq!(gate.map_flags() & MAPPABLE, MAPPABLE, "user space writes it as memory");
    assert_eq!(
        (rows.map_type(), rows.value_size() as usize),
        (PER_CPU_ARRAY, size_of::<EventRow>())
    );
}
