/** `quicether/lab`: hosts, links and faults in virtual time, with the real engine. */
export * from '@quicether/lab'
