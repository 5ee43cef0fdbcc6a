/** All rows of the matrix, in the order of the page. */
import type { Case } from './case.ts'
import { handshakeCases } from './handshake-cases.ts'
import { networkCases } from './network-cases.ts'
import { routerCases } from './router-cases.ts'

export const cases: readonly Case[] = [...handshakeCases, ...networkCases, ...routerCases]
