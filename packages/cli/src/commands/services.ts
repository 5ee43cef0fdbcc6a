/** `quicether services`: the three demo microservices. */
import {
  demoPorts,
  type RunningService,
  startControlService,
  startTextService,
  startVideoService,
} from '@quicether/router'
import type { Command } from 'commander'
import { examples } from '../help.ts'
import { portNumber } from '../option-values.ts'
import { tellParent, untilStopped } from '../parent-link.ts'

interface ServicesFlags {
  readonly host: string
  readonly videoPort: number
  readonly textPort: number
  readonly controlPort: number
}

/** Adds the command to the program. */
export function addServicesCommand(program: Command): void {
  program
    .command('services')
    .summary('run the three demo services')
    .description('Runs the three demo services (video, text, control) over HTTP until it is interrupted.')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--video-port <port>', 'port of the video service, 0 = any', portNumber, demoPorts.video)
    .option('--text-port <port>', 'port of the text service, 0 = any', portNumber, demoPorts.text)
    .option('--control-port <port>', 'port of the control service, 0 = any', portNumber, demoPorts.control)
    .addHelpText(
      'after',
      examples([
        'quicether services',
        'quicether services --video-port 0 --text-port 0 --control-port 0',
        'curl http://127.0.0.1:5002/text/analyze --data-binary @book.txt',
      ]),
    )
    .action(runServices)
}

async function runServices(flags: ServicesFlags): Promise<void> {
  const stopped = untilStopped()
  const running: RunningService[] = []
  try {
    const video = await startVideoService({ host: flags.host, port: flags.videoPort })
    running.push(video)
    const text = await startTextService({ host: flags.host, port: flags.textPort })
    running.push(text)
    const control = await startControlService({ host: flags.host, port: flags.controlPort })
    running.push(control)
    for (const service of running)
      process.stdout.write(`${service.name.padEnd(8)} http://${service.host}:${service.port}/${service.name}\n`)
    tellParent({ kind: 'services', video: video.port, text: text.port, control: control.port })
    await stopped
  } finally {
    await Promise.all(running.map((service) => service.close()))
  }
}
