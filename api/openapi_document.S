/* The file as it is in the tree. The include path leads to it. */
    .section .rodata.mayfly_openapi, "a", %progbits
    .balign 16
    .global mayfly_openapi_begin
    .global mayfly_openapi_end
mayfly_openapi_begin:
    .incbin "api/openapi/openapi.json"
mayfly_openapi_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
