/** The flags of the 2017 fork, which have one dash and several letters, put into the words of today. */

/** Commands that know the old flags, and what each one means there. */
const forkFlags: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  serve: {
    certpath: '--certpath',
    www: '--www',
    port: '--port',
    sc: '--scheduler',
    ssc: '--stream-scheduler',
    f: '--flow-window',
    n: '--interfaces',
    v: '--verbose',
  },
  get: {
    mip: '--mip',
    sc: '--scheduler',
    ssc: '--stream-scheduler',
    f: '--flow-window',
    n: '--interfaces',
    v: '--verbose',
  },
}

/** `-mip=B:4433` and `-mip B:4433` become `--mip B:4433`; everything else stays. */
export function translateForkFlags(args: readonly string[]): readonly string[] {
  const known = forkFlags[args[0] ?? '']
  if (known === undefined) return args
  const end = args.indexOf('--')
  return args.flatMap((arg, index) => {
    if (end >= 0 && index > end) return [arg]
    const match = /^-([a-z]+)(?:=(.*))?$/su.exec(arg)
    const long = match?.[1] === undefined || !Object.hasOwn(known, match[1]) ? undefined : known[match[1]]
    if (long === undefined) return [arg]
    return match?.[2] === undefined ? [long] : [long, match[2]]
  })
}
