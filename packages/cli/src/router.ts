/** `quicether/router`: the HTTP/3 router and its parts, to be started from a program. */
export * from '@quicether/router'
