/** The library face of QuicEther: the router and what it is made of. */
export * from '@quicether/router'
