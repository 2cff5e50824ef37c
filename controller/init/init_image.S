/* The finished program mayfly-init, byte for byte. The include path leads to it. */
    .section .rodata.mayfly_init, "a", %progbits
    .balign 16
    .global mayfly_init_begin
    .global mayfly_init_end
mayfly_init_begin:
    .incbin "mayfly-init"
mayfly_init_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
