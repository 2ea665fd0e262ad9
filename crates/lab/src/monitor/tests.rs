use super::*;

const LONG: &str = include_str!("long.txt");
const PROTECTED: &str = include_str!("protected.txt");

#[test]
fn a_64_bit_processor_is_read_in_full() {
    let cpu = &parse(LONG).unwrap()[0];
    assert_eq!((cpu.rip, cpu.rflags, cpu.halted), (0x55e2_1322_938f, 0x206, false));
    assert_eq!(cpu.gpr[2], 3);
    assert_eq!(cpu.gpr[4], 0x7fc9_f232_dea0);
    assert_eq!(cpu.gpr[8], 0x55e2_1322_c0c0);
    assert_eq!(cpu.gpr[15], 0x1515_1515_1515_1515);
    assert_eq!(cpu.segments[4].base, 0x7fc9_f232_e6c0);
    assert_eq!((cpu.segments[1].selector, cpu.segments[1].attributes()), (0x33, 0xa0fb));
    assert_eq!(cpu.segments[7].limit, 0x4087);
    assert_eq!((cpu.gdt.base, cpu.idt.limit), (0xffff_fe00_0003_c000, 0xfff));
    assert_eq!((cpu.cr3, cpu.cr4, cpu.efer), (0x1fe2_2000, 0x75_1ea0, 0xd01));
    assert_eq!((cpu.dr[6], cpu.dr[7]), (0xffff_0ff0, 0x400));
}

#[test]
fn the_fxsave_image_starts_with_the_top_of_the_stack() {
    let cpu = &parse(LONG).unwrap()[0];
    let image = cpu.fxsave.as_ref().unwrap();
    assert_eq!(image.len(), 512);
    assert_eq!(image[..5], [0x7f, 3, 0, 8, 2]);
    assert_eq!(image[24..28], [0x80, 0x1f, 0, 0]);
    assert_eq!(image[32..42], [0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0x40]);
    assert_eq!(image[160 + 16 * 5..][..9], [5, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 5]);
}

#[test]
fn upper_halves_are_read_where_they_are_printed() {
    let lowest = "YMM03=0000000000000000 0000000000000000 0000000000000003";
    let marked = "YMM03=0f0e0d0c0b0a0908 0706050403020100 0000000000000003";
    let cpu = &parse(&LONG.replace(lowest, marked)).unwrap()[0];
    let halves = cpu.ymm_high.as_ref().unwrap();
    assert_eq!(halves.len(), 256);
    assert!(halves[48..64].iter().copied().eq(0..16), "{halves:?}");
    assert!(halves[64..].iter().all(|byte| *byte == 0));
    assert_eq!(parse(PROTECTED).unwrap()[0].ymm_high, None);
}

#[test]
fn a_32_bit_processor_is_read_in_full() {
    let cpus = parse(&PROTECTED.repeat(2)).unwrap();
    let cpu = &cpus[1];
    assert_eq!(cpus.len(), 2);
    assert_eq!(cpu.gpr[..8], [1, 3, 4, 2, 8, 7, 5, 6]);
    assert_eq!(cpu.gpr[8..], [0; 8]);
    assert_eq!((cpu.rip, cpu.halted, cpu.efer), (0xc111_1111, true, 0));
    assert_eq!(cpu.segments[4].base, 0x1e5f_0000);
    let image = cpu.fxsave.as_ref().unwrap();
    assert_eq!((image[160 + 16 * 7], image[160 + 16 * 8]), (7, 0));
}

#[test]
fn a_missing_register_is_named() {
    let error = parse(&LONG.replace("CR3=", "CRX=")).unwrap_err();
    assert!(format!("{error:#}").ends_with("no CR3"), "{error:#}");
    assert!(parse("nothing").is_err());
}
