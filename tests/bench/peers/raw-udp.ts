/** The limit of the machine: our native sockets with offload, two processes, no crypto, no protocol. */
import { Address, Slot, SLOT_BYTES, SLOTS_MAX, UdpSocket } from '../../../packages/native/src/udp-socket.ts'
import { report, specification } from './protocol.ts'

const SEGMENT_BYTES = 1_452
const TRAIN_BYTES_MAX = 65_507
/** Trains sent before the event loop gets a turn. */
const TRAINS_PER_TURN = 64
const END_DATAGRAM_BYTES = 4
const LOOPBACK_IPV4 = 0x7f000001

const spec = specification()
if (spec.role === 'server') serve()
else await send(spec.port, spec.work.kind === 'raw' ? spec.work.seconds : 1)

/** Counts what arrives; a datagram of four bytes ends a run and is answered with the count. */
function serve(): void {
  const socket = new UdpSocket({ address: '127.0.0.1', port: 0 })
  const slab = new Uint8Array(SLOT_BYTES * SLOTS_MAX)
  const meta = new Int32Array(Slot.Words * SLOTS_MAX)
  let bytes = 0
  let startedAt = 0
  let lastAt = 0
  socket.start(() => {
    for (let slots = socket.receive(slab, meta); slots > 0; slots = socket.receive(slab, meta)) {
      const now = performance.now()
      for (let slot = 0; slot < slots; slot++) {
        const at = slot * Slot.Words
        const length = meta[at + Slot.Length] as number
        if (length === END_DATAGRAM_BYTES) {
          if (bytes > 0) report('received', { units: bytes, seconds: (lastAt - startedAt) / 1000 })
          bytes = 0
          continue
        }
        if (bytes === 0) startedAt = now
        bytes += length
        lastAt = now
      }
      if (slots < SLOTS_MAX) break
    }
  })
  process.on('SIGTERM', () => {
    socket.close()
    process.exit(0)
  })
  report('listening', { port: socket.info.port })
}

async function send(port: number, seconds: number): Promise<void> {
  const socket = new UdpSocket({ address: '127.0.0.1', port: 0 })
  const slab = new Uint8Array(TRAIN_BYTES_MAX)
  const address = new Int32Array(Address.Words)
  address[Address.RemoteFamily] = 4
  address[Address.RemotePort] = port
  address[Address.RemoteIp] = LOOPBACK_IPV4
  let onWritable = () => {}
  socket.start(() => onWritable())
  const segments = Math.min(socket.segmentsMax, Math.floor(TRAIN_BYTES_MAX / SEGMENT_BYTES))
  const trainBytes = segments * SEGMENT_BYTES
  const endAt = performance.now() + seconds * 1000
  let sent = 0
  while (performance.now() < endAt) {
    for (let train = 0; train < TRAINS_PER_TURN; train++) {
      const taken = socket.send(slab, 0, trainBytes, SEGMENT_BYTES, 0, address)
      if (taken < 0) throw new Error(`the kernel refused a train of ${segments} segments: errno ${-taken}`)
      sent += taken
      if (taken < trainBytes) break
    }
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  onWritable = () => {}
  // The receiver may have lost any of them: three ends, 50 ms apart.
  for (let attempt = 0; attempt < 3; attempt++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 50))
    socket.send(slab, 0, END_DATAGRAM_BYTES, END_DATAGRAM_BYTES, 0, address)
  }
  report('sent', { units: sent, segments })
  socket.close()
}
