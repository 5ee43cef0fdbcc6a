/** The laboratory: real engines in a virtual world with virtual time, seeded faults and outside checkers. */
export { AmplificationChecker, InitialSizeChecker } from './checkers.ts'
export { ConnectionApp } from './connection-app.ts'
export { type Datagram, DatagramPool, headerBytes, isIpv6 } from './datagram.ts'
export { RunDigest } from './digest.ts'
export { EndpointDriver } from './driver.ts'
export { type FaultSchedule, FaultSwarm, type FaultTargets } from './faults.ts'
export { type Task, TaskHeap } from './heap.ts'
export { type DownMode, Host, type InterfaceOptions, NetworkInterface, type SendOutcome } from './host.ts'
export {
  type JitterMode,
  Link,
  type LinkOptions,
  Pipe,
  pipeDefaults,
  type PipeOptions,
  type PipeStats,
} from './link.ts'
export { Nat, type NatKind, type NatOptions } from './nat.ts'
export { fakePartyCrypto, Party, type PartyCrypto, type PartyCryptoFactory, type PartyOptions } from './parties.ts'
export { Pattern } from './pattern.ts'
export { addPauses, type Pausable, type PauseOptions } from './pauses.ts'
export {
  fadingPair,
  multipathRequests,
  type RequestOptions,
  type RequestReport,
  singlePathRequests,
} from './requests.ts'
export { Scenario, type ScenarioLink, type ScenarioOptions, world } from './scenario.ts'
export { runSeed, type SimOptions, type SimReport } from './sim.ts'
export { formatTime, milliseconds, seconds, Timeline, type TimelineEntry } from './timeline.ts'
export { SafetyError, type TransferPlan } from './transfers.ts'
export { LivenessError, World, type WorldObserver, type WorldOptions } from './world.ts'
export { heatMap } from './heat-map.ts'
export { type LinkPair, mqvpnPairNames, mqvpnPairs } from './pairs.ts'
export { describeJob, type Failure, type JobOutcome, type Standing, type Standings, standingsOf } from './standings.ts'
export {
  type Job,
  type JobFigures,
  type PathConfig,
  planJobs,
  runJob,
  type TournamentCase,
  tournamentCases,
  type TournamentPlan,
} from './tournament.ts'
export { type ReportTable, tournamentMarkdown, tournamentTables } from './tournament-report.ts'
