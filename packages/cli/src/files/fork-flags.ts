/** The flags of the 2017 fork, which have one dash and several letters, put into the words of today. */
import { UserError } from '@quicether/router'

interface ForkFlag {
  readonly long: string
  /** Takes no value, or one of Go's words for true and false behind a `=`. */
  readonly isSwitch?: true
}

const common: Readonly<Record<string, ForkFlag>> = {
  sc: { long: '--scheduler' },
  ssc: { long: '--stream-scheduler' },
  c: { long: '--initial-window' },
  f: { long: '--flow-window' },
  n: { long: '--interfaces' },
  v: { long: '--verbose', isSwitch: true },
}

/** Commands that know the old flags, and what each one means there. */
const forkFlags: Readonly<Record<string, Readonly<Record<string, ForkFlag>>>> = {
  serve: {
    ...common,
    certpath: { long: '--certpath' },
    www: { long: '--www' },
    port: { long: '--port' },
    tcp: { long: '--tcp', isSwitch: true },
  },
  get: {
    ...common,
    mip: { long: '--mip' },
    d: { long: '--delay' },
    fmp: { long: '--fake-multipath', isSwitch: true },
  },
}

const words: Readonly<Record<string, boolean>> = {
  ...{ 1: true, t: true, T: true, true: true, TRUE: true, True: true },
  ...{ 0: false, f: false, F: false, false: false, FALSE: false, False: false },
}

/**
 * `-mip=B:4433` and `-mip B:4433` become `--mip B:4433`, `-tcp=true` becomes `--tcp`; everything else stays.
 * @throws UserError `ERR_OPTION` for switches with a value that is neither true nor false.
 */
export function translateForkFlags(args: readonly string[]): readonly string[] {
  const known = forkFlags[args[0] ?? '']
  if (known === undefined) return args
  const end = args.indexOf('--')
  return args.flatMap((arg, index) => {
    if (end >= 0 && index > end) return [arg]
    const match = /^-([a-z]+)(?:=(.*))?$/su.exec(arg)
    const flag = match?.[1] === undefined || !Object.hasOwn(known, match[1]) ? undefined : known[match[1]]
    if (flag === undefined) return [arg]
    const value = match?.[2]
    if (value === undefined) return [flag.long]
    if (flag.isSwitch !== true) return [flag.long, value]
    return isOn(arg, value) ? [flag.long] : []
  })
}

function isOn(arg: string, value: string): boolean {
  const isOn = Object.hasOwn(words, value) ? words[value] : undefined
  if (isOn !== undefined) return isOn
  throw new UserError('ERR_OPTION', {
    what: `"${value}" is neither true nor false`,
    where: arg,
    remedy: 'Give true or false, or the flag alone.',
  })
}
