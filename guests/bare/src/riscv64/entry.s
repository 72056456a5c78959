# a0: number of this hart, a1: address of the device tree. No address translation, interrupts off.

# The image begins with the header of a Linux kernel, for loaders that know nothing else.

.section .text.entry, "ax"
.globl entry
entry:
    j       start
    .balign 8
    .quad   0x200000                # from the beginning of memory
    .quad   image_end - image_start
    .quad   0                       # little-endian
    .long   2, 0                    # version of the header, 0.2
    .quad   0
    .ascii  "RISCV\0\0\0RSC\5"
    .long   0

start:
    csrw    sie, zero
    la      t0, trap
    csrw    stvec, t0
    li      t0, 1 << 13             # the floating-point unit is on
    csrs    sstatus, t0
    la      sp, stack_end
    mv      a0, a1
    call    bare_start

.balign 4
trap:
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    la      sp, stack_end
    call    bare_trap

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   64 << 10
stack_end:
