/** A small QUIC exchange sealed with node:crypto alone, independent of our engine: what a capture test feeds the writer. */
import { createCipheriv, createHmac, randomBytes } from 'node:crypto'

const INITIAL_SALT = Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex')
const TAG_BYTES = 16
const PN_BYTES = 2

interface Keys {
  readonly key: Buffer
  readonly iv: Buffer
  readonly hp: Buffer
}

export interface SyntheticExchange {
  readonly keylog: readonly string[]
  /** In the order of the wire, as seen by the client. */
  readonly datagrams: readonly { readonly direction: 'sent' | 'received'; readonly bytes: Buffer }[]
}

/** ClientHello, the server's whole flight in one datagram, then an HTTP/3 request and response. */
export function syntheticExchange(request: {
  readonly path: string
  readonly responseText: string
  /** Length of the client's connection IDs; 8 when absent. */
  readonly clientCidBytes?: number
}): SyntheticExchange {
  const clientRandom = randomBytes(32)
  const [clientCid, serverCid, originalCid] = [randomBytes(request.clientCidBytes ?? 8), randomBytes(8), randomBytes(8)]
  const initial = hmac(INITIAL_SALT, originalCid)
  const secrets = {
    CLIENT_HANDSHAKE_TRAFFIC_SECRET: randomBytes(32),
    SERVER_HANDSHAKE_TRAFFIC_SECRET: randomBytes(32),
    CLIENT_TRAFFIC_SECRET_0: randomBytes(32),
    SERVER_TRAFFIC_SECRET_0: randomBytes(32),
  }
  const clientInitial = keysOf(expandLabel(initial, 'client in', 32))
  const serverInitial = keysOf(expandLabel(initial, 'server in', 32))
  const hello = Buffer.concat([cryptoFrame(clientHello(clientRandom)), Buffer.alloc(850)])
  const encryptedExtensions = handshakeMessage(8, vector16(alpnExtension()))
  // Stream type control, then an empty SETTINGS frame.
  const control = streamFrame(3, 0, Buffer.from([0x00, 0x04, 0x00]), false)
  const headers = h3Frame(
    1,
    Buffer.concat([Buffer.from('0000d1d7', 'hex'), literal(1, request.path), literal(0, 'demo.test')]),
  )
  const body = Buffer.concat([h3Frame(1, Buffer.from('0000d9', 'hex')), h3Frame(0, Buffer.from(request.responseText))])
  const ack = Buffer.from('0200000000', 'hex')
  const flight = Buffer.concat([
    longPacket(0, serverInitial, clientCid, serverCid, Buffer.concat([ack, cryptoFrame(serverHello())])),
    longPacket(
      2,
      keysOf(secrets.SERVER_HANDSHAKE_TRAFFIC_SECRET),
      clientCid,
      serverCid,
      cryptoFrame(encryptedExtensions),
    ),
    shortPacket(keysOf(secrets.SERVER_TRAFFIC_SECRET_0), clientCid, 0, control),
  ])
  return {
    keylog: Object.entries(secrets).map(
      ([label, secret]) => `${label} ${clientRandom.toString('hex')} ${secret.toString('hex')}`,
    ),
    datagrams: [
      { direction: 'sent', bytes: longPacket(0, clientInitial, originalCid, clientCid, hello) },
      { direction: 'received', bytes: flight },
      {
        direction: 'sent',
        bytes: shortPacket(keysOf(secrets.CLIENT_TRAFFIC_SECRET_0), serverCid, 0, streamFrame(0, 0, headers, true)),
      },
      {
        direction: 'received',
        bytes: shortPacket(keysOf(secrets.SERVER_TRAFFIC_SECRET_0), clientCid, 1, streamFrame(0, 0, body, true)),
      },
    ],
  }
}

function longPacket(type: number, keys: Keys, destination: Buffer, source: Buffer, payload: Buffer): Buffer {
  const parts = [
    Buffer.from([0xc0 | (type << 4) | (PN_BYTES - 1), 0, 0, 0, 1]),
    Buffer.from([destination.length]),
    destination,
  ]
  parts.push(Buffer.from([source.length]), source)
  if (type === 0) parts.push(Buffer.from([0]))
  parts.push(varint2(PN_BYTES + payload.length + TAG_BYTES), Buffer.from([0, 0]))
  return protect(Buffer.concat(parts), payload, keys, 0)
}

function shortPacket(keys: Keys, destination: Buffer, pn: number, payload: Buffer): Buffer {
  const padded = payload.length < 32 ? Buffer.concat([payload, Buffer.alloc(32 - payload.length)]) : payload
  return protect(
    Buffer.concat([Buffer.from([0x40 | (PN_BYTES - 1)]), destination, Buffer.from([0, pn])]),
    padded,
    keys,
    pn,
  )
}

/** RFC 9001 §5.3 and §5.4: AES-128-GCM, then header protection. The packet number ends the header. */
function protect(header: Buffer, payload: Buffer, keys: Keys, pn: number): Buffer {
  const nonce = Buffer.from(keys.iv)
  nonce[11] = (nonce[11] ?? 0) ^ pn
  const cipher = createCipheriv('aes-128-gcm', keys.key, nonce)
  cipher.setAAD(header)
  const sealed = Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()])
  const packet = Buffer.concat([header, sealed])
  const pnAt = header.length - PN_BYTES
  const mask = createCipheriv('aes-128-ecb', keys.hp, null).update(packet.subarray(pnAt + 4, pnAt + 20))
  packet[0] = (packet[0] ?? 0) ^ ((mask[0] ?? 0) & ((packet[0] ?? 0) & 0x80 ? 0x0f : 0x1f))
  for (let at = 0; at < PN_BYTES; at++) packet[pnAt + at] = (packet[pnAt + at] ?? 0) ^ (mask[1 + at] ?? 0)
  return packet
}

function keysOf(secret: Buffer): Keys {
  return {
    key: expandLabel(secret, 'quic key', 16),
    iv: expandLabel(secret, 'quic iv', 12),
    hp: expandLabel(secret, 'quic hp', 16),
  }
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

/** RFC 8446 §7.1 HKDF-Expand-Label with an empty context; one block is enough here. */
function expandLabel(secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.from([0, length, name.length]), name, Buffer.from([0, 1])])
  return hmac(secret, info).subarray(0, length)
}

function clientHello(random: Buffer): Buffer {
  const extensions = Buffer.concat([Buffer.from('002b0003020304', 'hex'), alpnExtension(), quicParameters()])
  const fixed = [Buffer.from('0303', 'hex'), random, Buffer.from([0]), Buffer.from('000213010100', 'hex')]
  return handshakeMessage(1, Buffer.concat([...fixed, vector16(extensions)]))
}

function serverHello(): Buffer {
  const fixed = [Buffer.from('0303', 'hex'), randomBytes(32), Buffer.from([0]), Buffer.from('130100', 'hex')]
  return handshakeMessage(2, Buffer.concat([...fixed, vector16(Buffer.from('002b00020304', 'hex'))]))
}

function alpnExtension(): Buffer {
  return Buffer.from('001000050003026833', 'hex')
}

function quicParameters(): Buffer {
  return Buffer.from('003900020f00', 'hex')
}

function handshakeMessage(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 0, body.length >> 8, body.length & 255]), body])
}

function vector16(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([body.length >> 8, body.length & 255]), body])
}

function cryptoFrame(data: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x06, 0]), varint2(data.length), data])
}

function streamFrame(id: number, offset: number, data: Buffer, isFinal: boolean): Buffer {
  return Buffer.concat([Buffer.from([0x0e | (isFinal ? 1 : 0), id]), varint2(offset), varint2(data.length), data])
}

function h3Frame(type: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type]), varint2(payload.length), payload])
}

/** RFC 9204 §4.5.4: literal with the name from the static table (below 15), no Huffman. */
function literal(staticIndex: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x50 | staticIndex, value.length]), Buffer.from(value, 'latin1')])
}

function varint2(value: number): Buffer {
  return Buffer.from([0x40 | (value >> 8), value & 255])
}
