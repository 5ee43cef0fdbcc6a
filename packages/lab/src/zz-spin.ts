import { Connection } from '@quicether/transport'
import { runSeed } from './sim.ts'
const original = Connection.prototype.handleTimeout
let last = -1,
  count = 0
Connection.prototype.handleTimeout = function (nowUs: number) {
  if (nowUs === last) count++
  else {
    last = nowUs
    count = 0
  }
  if (count === 5000) {
    const c = this.core as any,
      p = this.path as any
    const f = c.streams.outbox
    console.log({
      now: nowUs,
      state: c.state,
      next: this.nextTimeoutUs(nowUs),
      pace: p.nextSendUs(nowUs),
      budget: p.sendBudget(nowUs),
      window: p.recovery.congestion.windowBytes,
      inflight: p.recovery.inFlightBytes,
      rec: p.recovery.deadlineUs(false),
      mtu: p.mtu.pollTimeout(),
      acks: p.recovery.spaces.map((s: any) => s.ack.dueAtUs),
      hasData: f.hasData(),
      blocked: f.isBlockedByConnection(),
      dg: c.datagrams.size,
      prev: c.keys.previousDropAtUs,
      paths: c.paths.nextTimeoutUs(),
      amp: p.amplificationCredit,
      probes: p.recovery.spaces.map((s: any) => s.probesPending),
      canSend: p.space.sent.canSend(),
      first: p.space.sent.first,
      nextpn: p.space.sent.next,
    })
    console.log(
      [...(c.streams.get ? [0, 1, 2, 3, 4, 8, 12].map((i) => c.streams.get(i)).filter(Boolean) : [])].map((s: any) => [
        s.id,
        s.send?.state,
        s.send?.credit,
        s.send?.buffer?.constructor.name,
        s.send?.finSent,
        s.send?.isFinished,
      ]),
    )
  }
  return original.call(this, nowUs)
}
const r = runSeed(Number(process.argv[2]))
console.log(r.failure?.slice(0, 200))
