import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientAddressOf, joinedPair, openPath, type PathPair, secondTuple } from '../testing/path-pair.ts'
import { transfer } from '../testing/pair.ts'

type Side = 'client' | 'server'

/** The last that a side has told about each path since `from`, e.g. `0 backup`. */
function toldBy({ seen }: PathPair, side: Side, from = 0): string[] {
  const told = new Map<number, string>()
  for (const { role, frames } of seen.slice(from)) {
    if (role !== side) continue
    for (const { name, numbers } of frames) {
      const [id = -1, isAvailable] = numbers
      if (name === 'PathStatus') told.set(id, `${id} ${isAvailable === 1 ? 'available' : 'backup'}`)
    }
  }
  return [...told.values()]
}

/** Path 0 and a backup path that the client has asked for; `cut` lets nothing through on path 0 any more. */
function scene() {
  const made = joinedPair()
  const { pair } = made
  const id = openPath(pair, secondTuple)
  pair.connection.setPathStatus(id, 'backup')
  pair.run(() => pair.accepted?.core.paths.get(id)?.peerStatus === 'backup')
  pair.advance(100_000)
  const cut = (isCut: boolean): void => {
    pair.filter = (datagram) => !isCut || clientAddressOf(datagram) !== '10.0.0.1'
  }
  return { made, pair, id, cut }
}

for (const side of ['client', 'server'] as const) {
  // spec: RFC 10069 §3.3#1
  test(`a ${side} whose backup path takes over says so, and takes it back when the other path answers again`, () => {
    const { made, pair, id, cut } = scene()
    let from = made.seen.length
    cut(true)
    const through = transfer(pair, side, 300_000)
    pair.run(through.isDone)
    assert.deepEqual(toldBy(made, side, from).toSorted(), ['0 backup', `${id} available`])
    from = made.seen.length
    cut(false)
    pair.run(() => toldBy(made, side, from).includes('0 available'))
    pair.advance(1_000_000)
    // The server never asked for a backup: to it the path was available all the time.
    const rest = side === 'client' ? `${id} backup` : `${id} available`
    assert.deepEqual(toldBy(made, side, from).toSorted(), ['0 available', rest])
    const again = made.seen.length
    const after = transfer(pair, side, 300_000)
    pair.run(after.isDone)
    assert.deepEqual(toldBy(made, side, again), [])
    const onBackup = made.seen
      .slice(again)
      .filter(
        ({ role, pathId, frames }) => role === side && pathId === id && frames.some(({ name }) => name === 'Stream'),
      )
    assert.equal(onBackup.length, 0, 'the backup path rests again')
  })

  test(`what the ${side} says keeps its peer off the broken path before that has noticed anything itself`, () => {
    const { made, pair, id, cut } = scene()
    const peer = side === 'client' ? 'server' : 'client'
    cut(true)
    const first = transfer(pair, side, 100_000)
    pair.run(first.isDone)
    const peerCore = peer === 'server' ? pair.accepted?.core : pair.connection.core
    pair.run(() => peerCore?.paths.get(0)?.peerStatus === 'backup')
    const from = made.seen.length
    const answer = transfer(pair, peer, 200_000)
    pair.run(answer.isDone)
    const carriers = new Set(
      made.seen
        .slice(from)
        .filter(({ role, frames }) => role === peer && frames.some(({ name }) => name === 'Stream'))
        .map(({ pathId }) => pathId),
    )
    assert.deepEqual([...carriers], [id])
  })
}

test('both sides that notice at once do not talk each other out of it', () => {
  const { made, pair, id, cut } = scene()
  const from = made.seen.length
  cut(true)
  const down = transfer(pair, 'server', 2_000_000)
  const up = transfer(pair, 'client', 2_000_000)
  pair.run(() => down.isDone() && up.isDone())
  pair.advance(5_000_000)
  for (const side of ['client', 'server'] as const)
    assert.deepEqual(toldBy(made, side, from).toSorted(), ['0 backup', `${id} available`], side)
  cut(false)
  const back = made.seen.length
  pair.run(() => ['client', 'server'].every((side) => toldBy(made, side as Side, back).includes('0 available')))
  pair.advance(5_000_000)
  assert.equal(toldBy(made, 'client', back).length, 2)
  assert.equal(toldBy(made, 'server', back).length, 2)
  assert.equal(pair.connection.core.paths.get(id)?.status, 'backup', "the application's wish is what it was")
})

test('a wish of the application during the outage holds from then on', () => {
  const { made, pair, id, cut } = scene()
  cut(true)
  const down = transfer(pair, 'client', 200_000)
  pair.run(down.isDone)
  const from = made.seen.length
  pair.connection.setPathStatus(id, 'available')
  pair.connection.setPathStatus(0, 'backup')
  pair.run(() => toldBy(made, 'client', from).length === 2)
  cut(false)
  pair.advance(20_000_000)
  assert.deepEqual(toldBy(made, 'client', from).toSorted(), ['0 backup', `${id} available`])
  assert.equal(pair.accepted?.core.paths.get(0)?.peerStatus, 'backup')
  assert.equal(pair.accepted?.core.paths.get(id)?.peerStatus, 'available')
})

test('nothing is said while another path that is no backup works', () => {
  const made = joinedPair()
  const { pair } = made
  openPath(pair, secondTuple)
  const from = made.seen.length
  pair.filter = (datagram) => clientAddressOf(datagram) !== '10.0.0.1'
  const up = transfer(pair, 'client', 300_000)
  pair.run(up.isDone)
  assert.deepEqual([...toldBy(made, 'client', from), ...toldBy(made, 'server', from)], [])
})
