/** The peer withdraws connection IDs (Retire Prior To) that a path or the probe of one is using. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CidRegistry } from '../cid/cid-registry.ts'
import type { Connection } from '../connection.ts'
import { clientTuple, Pair, transfer } from '../testing/index.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function registries(pair: Pair, pathId: number): { readonly ours: CidRegistry; readonly theirs: CidRegistry } {
  const of = (connection: Connection): CidRegistry => connection.core.multipath.registries.get(pathId) as CidRegistry
  return { ours: of(pair.connection), theirs: of(pair.accepted as Connection) }
}

/** Connection IDs of the server that the client knows for a path, in hex. */
function known({ active, spare, inUse }: CidRegistry): string[] {
  return [...(active === undefined ? [] : [active]), ...spare, ...inUse].map(({ cid }) => hex(cid))
}

/** The server issues one more connection ID and asks for all before it to be retired, as a frame would. */
function withdrawAll(pair: Pair, pathId: number): void {
  const { ours, theirs } = registries(pair, pathId)
  theirs.replenish(theirs.local.length + 1)
  const last = theirs.local.at(-1)
  assert.ok(last !== undefined)
  theirs.announcePending.length = 0
  ours.onNew(last.sequence, last.sequence, last.cid, last.resetToken, 64)
}

/** Destination connection ID of a short header packet. */
const destinationOf = (bytes: Uint8Array): string => hex(bytes.subarray(1, 9))

// spec: RFC 9000 §5.1.2
test('a migration goes on with a fresh connection ID when the peer withdraws the one its probes use', () => {
  const pair = new Pair().handshake()
  pair.advance(200_000)
  const isNew = (port: number): boolean => port === 41_000
  let isCut = true
  pair.filter = ({ from, tuple }) => !isCut || !isNew(from === 'client' ? tuple.localPort : tuple.remotePort)
  assert.ok(pair.connection.migrate(clientTuple(41_000, '10.9.9.9'), pair.nowUs))
  pair.advance(50_000)
  const { ours } = registries(pair, 0)
  const withdrawn = new Set(known(ours))
  const before = pair.sent.length
  withdrawAll(pair, 0)
  isCut = false
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  const after = pair.sent.slice(before).filter(({ from }) => from === 'client')
  assert.ok(after.length > 0)
  for (const { bytes } of after) assert.equal(withdrawn.has(destinationOf(bytes)), false, 'a withdrawn ID is not used')
  const used = (port: number): Set<string> =>
    new Set(after.filter(({ tuple }) => tuple.localPort === port).map(({ bytes }) => destinationOf(bytes)))
  for (const cid of used(41_000)) assert.equal(used(40_000).has(cid), false, 'one ID on two addresses links them')
  pair.run(transfer(pair, 'client', 100_000).isDone)
})

// spec: RFC 9000 §9.5
test('a migration fails rather than use the connection ID of the old address when the last spare one is withdrawn', () => {
  const pair = new Pair().handshake()
  pair.advance(200_000)
  assert.ok(pair.connection.migrate(clientTuple(41_000, '10.9.9.9'), pair.nowUs))
  pair.flush()
  // The challenge is under way; what would bring new connection IDs is held back.
  pair.filter = ({ from, tuple }) => (from === 'client' ? tuple.localPort : tuple.remotePort) === 41_000
  withdrawAll(pair, 0)
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'failed'))
  assert.equal(pair.connection.path.tuple.localPort, 40_000)
  pair.filter = () => true
  pair.run(transfer(pair, 'client', 100_000).isDone)
  assert.ok(pair.connection.migrate(clientTuple(42_000, '10.9.9.9'), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
})

// spec: RFC 10069 §3.2
test('a path whose last connection ID is withdrawn rests until the peer gives a new one; the others carry the data', () => {
  const pair = new Pair({ client: { maxPaths: 4 }, server: { maxPaths: 4 } }).handshake()
  pair.advance(100_000)
  const id = pair.connection.openPath(clientTuple(41_000, '10.7.7.7'), {}, pair.nowUs)
  assert.equal(id, 1)
  pair.run(() => pair.connection.paths()[1]?.isValidated === true)
  pair.advance(100_000)
  const { ours, theirs } = registries(pair, 1)
  // The newest one has been used up by a probe that is over; then all before it are withdrawn.
  while (ours.spare.length > 1) ours.retire(ours.takeSpare() as NonNullable<typeof ours.active>)
  const newest = ours.takeSpare()
  assert.ok(newest !== undefined && newest.resetToken !== undefined)
  ours.retire(newest)
  const withdrawn = known(ours)
  ours.onNew(newest.sequence, newest.sequence, newest.cid, newest.resetToken, 8)
  assert.equal(ours.active, undefined)
  // No new one arrives as long as the server does not hear of the retirement.
  pair.filter = ({ from }) => from === 'server'
  const before = pair.sent.length
  const down = transfer(pair, 'client', 200_000)
  pair.advance(60_000)
  const sent = pair.sent.slice(before).filter(({ from }) => from === 'client')
  assert.ok(sent.length > 3 && sent.every(({ tuple }) => tuple.localPort === 40_000), 'path 0 goes on alone')
  pair.filter = () => true
  pair.run(down.isDone)
  pair.run(() => ours.active !== undefined)
  assert.ok(known(ours).every((cid) => !withdrawn.includes(cid)))
  assert.ok(theirs.local.length > 0)
  const rest = transfer(pair, 'client', 3_000_000)
  const from = pair.sent.length
  pair.run(rest.isDone)
  assert.ok(pair.sent.slice(from).some(({ from: side, tuple }) => side === 'client' && tuple.localPort === 41_000))
})
