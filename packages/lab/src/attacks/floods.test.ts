/** Floods of frames that are cheap to send: the victim's memory and answers stay small, others keep their pace. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { Frames } from './frames.ts'
import { assertHonestWorks, attack, createScene, flood, liveBytes, MIB } from './scene.ts'

/** Packets full of one frame, and how many bytes may come back for each byte sent. */
const cases: readonly (readonly [string, (frames: Frames) => void])[] = [
  ['PING', (frames) => frames.ping()],
  ['STREAMS_BLOCKED', (frames) => frames.numbers(FrameType.StreamsBlockedBidi, 128)],
  ['DATA_BLOCKED', (frames) => frames.numbers(FrameType.DataBlocked, 1)],
  ['MAX_DATA', (frames) => frames.numbers(FrameType.MaxData, 1)],
  ['MAX_STREAMS', (frames) => frames.numbers(FrameType.MaxStreamsUni, 1)],
  ['STREAM_DATA_BLOCKED', (frames) => frames.numbers(FrameType.StreamDataBlocked, 4, 1)],
  ['STOP_SENDING of one stream', (frames) => frames.numbers(FrameType.StopSending, 4, 0)],
  ['empty STREAM of one stream', (frames) => frames.numbers(FrameType.Stream | 0x02, 4, 0)],
  ['RESET_STREAM of one stream', (frames) => frames.numbers(FrameType.ResetStream, 4, 0, 0)],
  ['DATAGRAM of no bytes', (frames) => frames.numbers(FrameType.DatagramLength, 0)],
]

for (const [name, add] of cases)
  test(`a flood of ${name} frames is answered by less than it sends and forgotten`, { timeout: 60_000 }, () => {
    const scene = createScene()
    const { peer, connection } = attack(scene)
    const before = liveBytes()
    const [sent, received] = [peer.bytesSent, peer.bytesReceived]
    flood(scene, 400, 10, () => {
      const frames = new Frames()
      while (frames.length < 1_150) add(frames)
      peer.send(frames)
    })
    assert.ok(scene.victim.connections.has(connection), peer.closeReason())
    assert.ok(peer.bytesReceived - received < (peer.bytesSent - sent) / 2, 'small answers')
    assert.ok(liveBytes() - before < 8 * MIB, `grew by ${liveBytes() - before} bytes`)
    assertHonestWorks(scene)
  })
