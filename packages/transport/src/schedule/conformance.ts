/** What every packet scheduler must do, as a suite that each implementation runs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type PacketScheduler, type PacketSchedulerFactory, WAIT } from './packet-scheduler.ts'
import { PathLane } from './path-lane.ts'

const MTU = 1_200
const TRAIN_BYTES = 16 * MTU

export interface Traits {
  /** It may answer WAIT although a lane has a budget. */
  readonly mayWait: boolean
  /** Every lane with a budget gets its turn again and again, whatever the others are like. */
  readonly servesEveryLane: boolean
}

interface LaneSpec {
  readonly rttUs: number
  readonly windowPackets: number
  readonly inFlightShare: number
}

/** A lane as the engine would show it. */
export function lane(id: number, spec: Partial<LaneSpec> = {}): PathLane {
  const made = new PathLane(id)
  const { rttUs = 20_000, windowPackets = 50, inFlightShare = 0 } = spec
  made.smoothedRttUs = rttUs
  made.rttVarUs = rttUs / 4
  made.hasRttSample = true
  made.mtuBytes = MTU
  made.windowBytes = windowPackets * MTU
  made.inFlightBytes = Math.floor(windowPackets * inFlightShare) * MTU
  made.budgetBytes = made.windowBytes - made.inFlightBytes
  return made
}

export class Moment {
  readonly lanes: PathLane[]
  queuedBytes = 10_000_000
  sendWindowBytes = 16_000_000
  hasInteractive = false
  hasBulk = true
  isEnding = false
  stalls = 0
  nowUs = 0

  constructor(lanes: PathLane[]) {
    this.lanes = lanes
  }

  /** One decision and its burst; -1 when the scheduler waits. */
  burst(scheduler: PacketScheduler): number {
    const index = scheduler.pick(this)
    if (index === WAIT) return WAIT
    const chosen = this.lanes[index]
    assert.ok(chosen !== undefined && chosen.budgetBytes > 0, `${scheduler.name} picked lane ${index}`)
    const bytes = Math.min(TRAIN_BYTES, chosen.budgetBytes)
    chosen.budgetBytes -= bytes
    chosen.inFlightBytes += bytes
    this.queuedBytes = Math.max(0, this.queuedBytes - bytes)
    scheduler.onSent?.(chosen, bytes)
    return index
  }

  /** Everything in flight on the lane is acknowledged. */
  acknowledge(index: number): void {
    const acked = this.lanes[index] as PathLane
    acked.inFlightBytes = 0
    acked.budgetBytes = acked.windowBytes
  }
}

const spec: fc.Arbitrary<LaneSpec> = fc.record({
  rttUs: fc.integer({ min: 500, max: 600_000 }),
  windowPackets: fc.integer({ min: 2, max: 5_000 }),
  inFlightShare: fc.constantFrom(0, 0.5, 1),
})

const moments = fc.record({
  specs: fc.array(spec, { minLength: 1, maxLength: 6 }),
  queuedBytes: fc.integer({ min: 1, max: 50_000_000 }),
  sendWindowBytes: fc.integer({ min: 10_000, max: 64_000_000 }),
  steps: fc.array(fc.nat(5), { minLength: 1, maxLength: 60 }),
})

interface Script {
  readonly specs: readonly LaneSpec[]
  readonly queuedBytes: number
  readonly sendWindowBytes: number
  readonly steps: readonly number[]
}

/** Sends while it can; acknowledges the lane the script names when nothing can, or the scheduler waits. */
function play(scheduler: PacketScheduler, script: Script, check: (moment: Moment, index: number) => void): number[] {
  const moment = new Moment(script.specs.map((one, id) => lane(id, one)))
  moment.queuedBytes = script.queuedBytes
  moment.sendWindowBytes = script.sendWindowBytes
  const picks: number[] = []
  for (const step of script.steps) {
    moment.nowUs += 1_000
    if (moment.lanes.some(({ budgetBytes }) => budgetBytes > 0)) {
      const index = moment.burst(scheduler)
      picks.push(index)
      check(moment, index)
    }
    if (picks.at(-1) === WAIT || step === 0) moment.acknowledge(step % moment.lanes.length)
  }
  return picks
}

/** Registers the suite for one scheduler. */
export function conformance(make: PacketSchedulerFactory, traits: Traits): void {
  const { name } = make()

  test(`${name} picks only lanes that can send, whatever the windows, RTTs and acknowledgments`, () => {
    fc.assert(fc.property(moments, (script) => void play(make(), script, () => {})))
  })

  test(`${name} never waits when every lane can send${traits.mayWait ? '' : ', nor when only one can'}`, () => {
    fc.assert(
      fc.property(moments, (script) => {
        play(make(), script, (moment, index) => {
          if (!traits.mayWait) assert.notEqual(index, WAIT)
          else if (moment.lanes.every(({ budgetBytes }) => budgetBytes > 0)) assert.notEqual(index, WAIT)
        })
      }),
    )
  })

  test(`${name} sends on the only path there is`, () => {
    fc.assert(
      fc.property(spec, (one) => {
        const moment = new Moment([lane(3, { ...one, inFlightShare: 0 })])
        assert.equal(moment.burst(make()), 0)
      }),
    )
  })

  test(`${name} decides the same in the same situation`, () => {
    fc.assert(
      fc.property(moments, (script) => {
        assert.deepEqual(
          play(make(), script, () => {}),
          play(make(), script, () => {}),
        )
      }),
    )
  })

  test(`${name} goes on when paths come and go`, () => {
    const scheduler = make()
    const moment = new Moment([lane(0), lane(1, { rttUs: 80_000 }), lane(2, { rttUs: 5_000 })])
    for (let round = 0; round < 20; round++) {
      assert.notEqual(moment.burst(scheduler), WAIT)
      for (let i = 0; i < moment.lanes.length; i++) moment.acknowledge(i)
      moment.lanes.shift()
      moment.lanes.push(lane(round + 3, { rttUs: 1_000 * (round + 1) }))
    }
  })

  test(`${name} drains any queue as long as acknowledgments come`, () => {
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 5 }), (specs) => {
        const scheduler = make()
        const moment = new Moment(specs.map((one, id) => lane(id, one)))
        moment.queuedBytes = 500_000
        for (let turn = 0; moment.queuedBytes > 0; turn++) {
          assert.ok(turn < 5_000, `${moment.queuedBytes} bytes are left`)
          const canSend = moment.lanes.some(({ budgetBytes }) => budgetBytes > 0)
          if (!canSend || moment.burst(scheduler) === WAIT) moment.acknowledge(turn % moment.lanes.length)
        }
      }),
    )
  })

  if (!traits.servesEveryLane) return
  test(`${name} starves no path that can send`, () => {
    fc.assert(
      fc.property(fc.array(alike, { minLength: 2, maxLength: 6 }), (specs) => {
        const scheduler = make()
        const moment = new Moment(specs.map((one, id) => lane(id, one)))
        const bursts = moment.lanes.map(() => 0)
        for (let turn = 0; turn < 3_000; turn++) {
          for (let i = 0; i < moment.lanes.length; i++) moment.acknowledge(i)
          const index = moment.burst(scheduler)
          bursts[index] = (bursts[index] as number) + 1
        }
        assert.ok(Math.min(...bursts) > 0, `bursts by path: ${bursts}`)
      }),
    )
  })
}

/** Paths whose rates differ by a factor of a hundred at most: a fair share shows within a few thousand bursts. */
const alike: fc.Arbitrary<LaneSpec> = fc.record({
  rttUs: fc.integer({ min: 5_000, max: 50_000 }),
  windowPackets: fc.integer({ min: 10, max: 100 }),
  inFlightShare: fc.constant(0),
})
