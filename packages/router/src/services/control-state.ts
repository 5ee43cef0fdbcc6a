/** The state behind the control service: keys, sessions and schedules, all bounded, changed by validated commands. */
import * as v from 'valibot'

const name = v.pipe(
  v.string('a name in quotes'),
  v.regex(/^[\w.:-]{1,128}$/u, 'a name of 1 to 128 letters, digits, "_", ".", ":" or "-"'),
)
const value = v.pipe(
  v.unknown(),
  v.check((input) => (JSON.stringify(input) ?? '').length <= 65_536, 'a JSON value of at most 65536 characters'),
)

const simpleCommand = v.variant('command', [
  v.strictObject({ command: v.literal('set'), key: name, value }),
  v.strictObject({ command: v.literal('get'), key: name }),
  v.strictObject({ command: v.literal('delete'), key: name }),
  v.strictObject({ command: v.literal('increment'), key: name, by: v.optional(v.pipe(v.number(), v.finite()), 1) }),
  v.strictObject({ command: v.literal('list'), prefix: v.optional(v.string(), '') }),
  v.strictObject({ command: v.literal('start-session'), session: name, owner: v.optional(name) }),
  v.strictObject({ command: v.literal('stop-session'), session: name }),
  v.strictObject({ command: v.literal('sessions') }),
])

const commandSchema = v.variant('command', [
  ...simpleCommand.options,
  v.strictObject({
    command: v.literal('schedule'),
    id: name,
    everyMs: v.pipe(v.number(), v.integer(), v.minValue(10), v.maxValue(86_400_000)),
    times: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000)), 1),
    action: simpleCommand,
  }),
  v.strictObject({ command: v.literal('unschedule'), id: name }),
  v.strictObject({ command: v.literal('schedules') }),
])

export type ControlCommand = v.InferOutput<typeof commandSchema>
type SimpleCommand = v.InferOutput<typeof simpleCommand>

/** What a command did, or why it was refused. */
export type ControlResult =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }

interface Session {
  readonly session: string
  readonly owner: string | undefined
  readonly startedAtMs: number
}

interface Schedule {
  readonly id: string
  readonly everyMs: number
  readonly action: SimpleCommand
  remaining: number
  runs: number
  lastError: string | undefined
  timer: NodeJS.Timeout
}

const keysMax = 10_000
const sessionsMax = 1_000
const schedulesMax = 100

/** One store. `close()` stops its schedules. */
export class ControlState {
  readonly #keys = new Map<string, unknown>()
  readonly #sessions = new Map<string, Session>()
  readonly #schedules = new Map<string, Schedule>()
  #executed = 0

  /** Validates and runs one command; never throws. */
  execute(input: unknown): ControlResult {
    const parsed = v.safeParse(commandSchema, input)
    if (!parsed.success) return { ok: false, error: describeIssue(parsed.issues[0]) }
    this.#executed++
    return this.#run(parsed.output)
  }

  counts(): { keys: number; sessions: number; schedules: number; executed: number } {
    return {
      keys: this.#keys.size,
      sessions: this.#sessions.size,
      schedules: this.#schedules.size,
      executed: this.#executed,
    }
  }

  close(): void {
    for (const schedule of this.#schedules.values()) clearInterval(schedule.timer)
    this.#schedules.clear()
  }

  #run(command: ControlCommand): ControlResult {
    switch (command.command) {
      case 'schedule':
        return this.#schedule(command)
      case 'unschedule':
        return this.#unschedule(command.id)
      case 'schedules':
        return done(
          [...this.#schedules.values()].map(({ id, everyMs, remaining, runs, lastError }) => ({
            id,
            everyMs,
            remaining,
            runs,
            lastError: lastError ?? null,
          })),
        )
      default:
        return this.#runSimple(command)
    }
  }

  #runSimple(command: SimpleCommand): ControlResult {
    switch (command.command) {
      case 'set':
        return this.#set(command.key, command.value)
      case 'get':
        return this.#keys.has(command.key)
          ? done(this.#keys.get(command.key))
          : refused(`there is no key "${command.key}"`)
      case 'delete':
        return this.#keys.delete(command.key) ? done(null) : refused(`there is no key "${command.key}"`)
      case 'increment':
        return this.#increment(command.key, command.by)
      case 'list':
        return done([...this.#keys.keys()].filter((key) => key.startsWith(command.prefix)).sort())
      case 'start-session':
        return this.#startSession(command.session, command.owner)
      case 'stop-session':
        return this.#stopSession(command.session)
      case 'sessions':
        return done(
          [...this.#sessions.values()].map(({ session, owner, startedAtMs }) => ({
            session,
            owner: owner ?? null,
            ageMs: performance.now() - startedAtMs,
          })),
        )
    }
  }

  #set(key: string, newValue: unknown): ControlResult {
    if (!this.#keys.has(key) && this.#keys.size >= keysMax)
      return refused(`the store is full (${keysMax} keys); delete some first`)
    const previous = this.#keys.get(key) ?? null
    this.#keys.set(key, newValue)
    return done({ previous })
  }

  #increment(key: string, by: number): ControlResult {
    const current = this.#keys.get(key) ?? 0
    if (typeof current !== 'number') return refused(`key "${key}" does not hold a number`)
    const result = this.#set(key, current + by)
    return result.ok ? done(current + by) : result
  }

  #startSession(session: string, owner: string | undefined): ControlResult {
    if (this.#sessions.has(session)) return refused(`session "${session}" is already started`)
    if (this.#sessions.size >= sessionsMax) return refused(`there are already ${sessionsMax} sessions; stop some first`)
    this.#sessions.set(session, { session, owner, startedAtMs: performance.now() })
    return done({ session })
  }

  #stopSession(session: string): ControlResult {
    const found = this.#sessions.get(session)
    if (found === undefined) return refused(`session "${session}" is not started`)
    this.#sessions.delete(session)
    return done({ session, durationMs: performance.now() - found.startedAtMs })
  }

  #schedule(command: Extract<ControlCommand, { command: 'schedule' }>): ControlResult {
    const { id, everyMs, times, action } = command
    if (this.#schedules.has(id)) return refused(`schedule "${id}" exists already; unschedule it first`)
    if (this.#schedules.size >= schedulesMax)
      return refused(`there are already ${schedulesMax} schedules; unschedule some first`)
    const timer = setInterval(() => this.#tick(id), everyMs)
    timer.unref()
    this.#schedules.set(id, { id, everyMs, action, remaining: times, runs: 0, lastError: undefined, timer })
    return done({ id })
  }

  #tick(id: string): void {
    const schedule = this.#schedules.get(id)
    if (schedule === undefined) return
    const result = this.#runSimple(schedule.action)
    schedule.lastError = result.ok ? undefined : result.error
    schedule.runs++
    schedule.remaining--
    if (schedule.remaining === 0) this.#unschedule(id)
  }

  #unschedule(id: string): ControlResult {
    const schedule = this.#schedules.get(id)
    if (schedule === undefined) return refused(`there is no schedule "${id}"`)
    clearInterval(schedule.timer)
    this.#schedules.delete(id)
    return done({ id, runs: schedule.runs })
  }
}

function done(result: unknown): ControlResult {
  return { ok: true, result }
}

function refused(error: string): ControlResult {
  return { ok: false, error }
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const place = (issue.path ?? []).map((item) => String(item.key)).join('.')
  const received = issue.received.slice(0, 80)
  const expected = issue.message.startsWith('Invalid')
    ? `expected ${issue.expected ?? 'something else'}, got ${received}`
    : `expected ${issue.message}`
  return place === '' ? expected : `${place}: ${expected}`
}
