# 64-bit addresses, interrupts off, no address translation. Nothing is passed.

.section .text.entry, "ax"
.globl entry
entry:
    larl    %r15, stack_end - 160
    lghi    %r2, 0
    brasl   %r14, bare_start

# Where the processor goes for a program interruption.
.globl bare_program_interruption
.balign 8
bare_program_interruption:
    larl    %r15, stack_end - 160
    brasl   %r14, bare_trap

# Waits for an external interruption, which leads to bare_external_interruption.
.globl bare_wait_external
.globl bare_external_interruption
.balign 8
bare_wait_external:
    larl    %r1, waiting
    lpswe   0(%r1)
bare_external_interruption:
    br      %r14

.section .rodata.waiting, "a"
.balign 8
waiting:
    .quad   0x0102000180000000, 0               # external interruptions, wait state, 64-bit addresses

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   64 << 10
stack_end:
