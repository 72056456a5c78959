// x0: address of the device tree, or 0. At EL1, with the MMU and the caches off.
//
// With the MMU off all memory is device memory, where neither atomics nor unaligned accesses work. So everything is mapped
// to where it is, 1 TiB in blocks of 1 GiB: memory as memory (the second to the fourth), all else as devices.

.equ TABLE,             3
.equ BLOCK,             1 << 0
.equ DEVICE,            0 << 2                  // attributes 0 of MAIR
.equ NORMAL,            1 << 2                  // attributes 1
.equ INNER_SHAREABLE,   3 << 8
.equ ACCESSED,          1 << 10
.equ NEVER_EXECUTE,     3 << 53

.section .text.entry, "ax"
.globl entry
entry:
    msr     daifset, #0xf
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1

    mov     x1, #3 << 20                        // CPACR: no trap of floating-point instructions
    msr     cpacr_el1, x1
    mov     x1, #0xff00                         // MAIR: 0 device nGnRnE, 1 normal write-back
    msr     mair_el1, x1
    ldr     x1, =(16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23)   // TCR: 48 bits, write-back walks, TTBR0 alone, 4 KiB
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf                        // as many physical bits as there are, of 48
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    bfi     x1, x2, #32, #3
    msr     tcr_el1, x1
    adrp    x1, table
    msr     ttbr0_el1, x1
    tlbi    vmalle1
    dsb     sy
    isb
    mrs     x1, sctlr_el1
    mov     x2, #(1 << 0 | 1 << 2 | 1 << 12)    // MMU, data cache, instruction cache
    orr     x1, x1, x2
    bic     x1, x1, #2                          // unaligned accesses are well
    msr     sctlr_el1, x1
    isb

    adrp    x1, stack_end
    mov     sp, x1
    bl      bare_start

// Sixteen vectors, of 0x80 bytes each.
.balign 0x800
vectors:
.rept 16
    .balign 0x80
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    adrp    x3, stack_end
    mov     sp, x3
    b       bare_trap
.endr

.section .data.table, "aw"
.balign 4096
table:
    .quad   blocks + TABLE, blocks + 4096 + TABLE
    .fill   510, 8, 0
blocks:
    .quad   0 << 30 | BLOCK | DEVICE | ACCESSED | NEVER_EXECUTE
.set gibibyte, 1
.rept 3
    .quad   gibibyte << 30 | BLOCK | NORMAL | ACCESSED | INNER_SHAREABLE
    .set gibibyte, gibibyte + 1
.endr
.rept 1020
    .quad   gibibyte << 30 | BLOCK | DEVICE | ACCESSED | NEVER_EXECUTE
    .set gibibyte, gibibyte + 1
.endr

.section .bss.stack, "aw", @nobits
.balign 4096
    .skip   64 << 10
stack_end:
