/** The live page of the router: state, charts and tables, fed once a second; actions ask before they act. */
import { h, render, type ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { FeedDocument } from '../../ops/feed-document.ts'
import { Chart } from './charts.ts'
import { type Feed, useFeed } from './feed.ts'
import { bitRate, count, duration, milliseconds, percent } from './format.ts'
import { Connections, Services, Streams } from './tables.ts'

const themes = ['auto', 'light', 'dark'] as const
type Theme = (typeof themes)[number]

/** What an action would do, and what came of it. */
interface Question {
  readonly title: string
  readonly text: string
  readonly label: string
  readonly act: () => Promise<string>
}

function App(): ComponentChildren {
  const feed = useFeed()
  const [theme, colours, nextTheme] = useTheme()
  const [question, setQuestion] = useState<Question>()
  const [notice, setNotice] = useState('')
  const { document: now } = feed
  if (now === undefined)
    return h(
      'p',
      { class: 'loading' },
      feed.isLive ? 'Waiting for figures…' : 'The router does not answer; trying again…',
    )
  const ask = (asked: Question): void => setQuestion(asked)
  return h('div', { class: 'page' }, [
    h('a', { class: 'skip', href: '#main' }, 'Skip to the figures'),
    h(Head, { now, feed, theme, nextTheme, ask }),
    h('main', { id: 'main', tabIndex: -1 }, [
      h('p', { class: 'notice', role: 'status' }, notice),
      h(Tiles, { now, feed }),
      h('div', { class: 'charts' }, [
        h(Chart, {
          title: 'Throughput',
          about: 'Datagrams of all connections.',
          columns: feed.throughput.columns(),
          format: bitRate,
          theme: colours,
        }),
        h(Chart, {
          title: 'Latency',
          about: '95th percentile of the last ten seconds, by service.',
          columns: feed.latency.columns(),
          format: milliseconds,
          theme: colours,
        }),
        h(Chart, {
          title: 'Round trips',
          about: 'Smoothed, by connection/path.',
          columns: feed.roundTrips.columns(),
          format: milliseconds,
          theme: colours,
        }),
      ]),
      h(Services, { services: now.services }),
      h(Connections, { connections: now.connections, onClose: (id) => ask(closing(id)) }),
      h(Streams, { streams: now.streams }),
    ]),
    question === undefined
      ? null
      : h(Dialog, {
          question,
          onEnd: (text) => {
            setQuestion(undefined)
            setNotice(text)
          },
        }),
  ])
}

function Head(props: {
  readonly now: FeedDocument
  readonly feed: Feed
  readonly theme: Theme
  readonly nextTheme: () => void
  readonly ask: (question: Question) => void
}): ComponentChildren {
  const { status } = props.now
  const state = props.feed.isLive ? status.state : 'not answering'
  const names = status.certificate?.names.map((name) => name.replace(/^(?:DNS|IP Address):/u, '')).join(', ')
  return h('header', null, [
    h('div', { class: 'title' }, [
      h('h1', null, 'QuicEther router'),
      h('p', { class: 'where' }, [
        h('span', { class: `state ${state.replaceAll(' ', '-')}` }, state),
        ` ${status.listen} (UDP) · up ${duration(status.uptimeSeconds)} · ${status.configFile ?? 'no configuration file'}`,
      ]),
      h('p', { class: 'where' }, certificateText(names, status.certificate?.validTo)),
    ]),
    h('div', { class: 'actions' }, [
      button('Reload', () => props.ask(reloading)),
      button('Drain', () => props.ask(draining)),
      button(`Theme: ${props.theme}`, props.nextTheme),
    ]),
  ])
}

function certificateText(names: string | undefined, validTo: string | undefined): string {
  if (validTo === undefined) return 'certificate unknown'
  return `certificate ${names === undefined || names === '' ? '' : `for ${names} `}until ${validTo.slice(0, 10)}`
}

function Tiles({ now, feed }: { readonly now: FeedDocument; readonly feed: Feed }): ComponentChildren {
  const { status } = now
  const { rates } = feed
  const tiles: readonly (readonly [string, string, string])[] = [
    ['connections', count(status.connectionsOpen), `${count(status.connections)} in all`],
    ['streams open', count(status.streamsOpen), `${count(status.streams)} in all`],
    [
      'requests',
      rates === undefined ? '–' : `${count(Math.round(rates.requestsPerSecond))}/s`,
      `${count(status.failed)} failed`,
    ],
    [
      'sent',
      rates === undefined ? '–' : bitRate(rates.sentBytesPerSecond),
      rates === undefined ? '' : `${percent(rates.lossRatio)} lost`,
    ],
    ['received', rates === undefined ? '–' : bitRate(rates.receivedBytesPerSecond), ''],
    ['reloads', count(status.reloads.succeeded), `${count(status.reloads.failed)} failed`],
  ]
  return h(
    'dl',
    { class: 'tiles' },
    tiles.map(([name, value, more]) =>
      h('div', { key: name, class: 'tile' }, [
        h('dt', null, name),
        h('dd', null, value),
        h('dd', { class: 'more' }, more),
      ]),
    ),
  )
}

/** Modal: the browser keeps the focus inside and gives it back when the dialog is closed, which is why we only close it. */
function Dialog(props: { readonly question: Question; readonly onEnd: (text: string) => void }): ComponentChildren {
  const { question, onEnd } = props
  const dialog = useRef<HTMLDialogElement>(null)
  const outcome = useRef('')
  // With the picture, not after it: a key pressed in between would still go to the page below.
  useLayoutEffect(() => dialog.current?.showModal(), [])
  const close = (text: string): void => {
    outcome.current = text
    dialog.current?.close()
  }
  const act = (): void => {
    question.act().then(close, (error: unknown) => close(`That failed: ${String(error)}`))
  }
  return h('dialog', { ref: dialog, onClose: () => onEnd(outcome.current), 'aria-labelledby': 'question' }, [
    h('h2', { id: 'question' }, question.title),
    h('p', null, question.text),
    h('div', { class: 'actions' }, [
      h('button', { type: 'button', class: 'primary', onClick: act }, question.label),
      button('Cancel', () => close('')),
    ]),
  ])
}

const reloading: Question = {
  title: 'Reload the configuration?',
  text: 'Files are read again. Connections and running requests are not touched; a file with a mistake changes nothing.',
  label: 'Reload',
  act: async () => {
    const result = await post('/api/reload')
    if (typeof result['error'] === 'string') return `Nothing was changed: ${result['error']}`
    const changes = Array.isArray(result['changes']) ? result['changes'].length : 0
    return changes === 0 ? 'Reloaded: nothing has changed.' : `Reloaded: ${changes} settings changed.`
  },
}

const draining: Question = {
  title: 'Drain and end the router?',
  text: 'New connections and requests are refused, running ones finish within the configured time, then the process ends.',
  label: 'Drain and end',
  act: async () => {
    await post('/api/drain')
    return 'The router finishes its requests and ends.'
  },
}

function closing(id: number): Question {
  return {
    title: `Close connection ${id}?`,
    text: 'Its requests are cut off.',
    label: 'Close it',
    act: async () => {
      const result = await post(`/api/connections/${id}/close`)
      return typeof result['error'] === 'string' ? result['error'] : `Connection ${id} is closed.`
    },
  }
}

async function post(path: string): Promise<Record<string, unknown>> {
  const response = await fetch(path, { method: 'POST' })
  return (await response.json()) as Record<string, unknown>
}

function button(text: string, onClick: () => void): ComponentChildren {
  return h('button', { type: 'button', onClick }, text)
}

/** The choice, a name for the colours it leads to, and the way to the next choice. */
function useTheme(): readonly [Theme, string, () => void] {
  const [theme, setTheme] = useState<Theme>(storedTheme)
  const [isDark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches)
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)')
    const onChange = (): void => setDark(query.matches)
    query.addEventListener('change', onChange)
    return () => query.removeEventListener('change', onChange)
  }, [])
  const colours = theme === 'auto' ? (isDark ? 'dark' : 'light') : theme
  document.documentElement.dataset['theme'] = colours
  const next = (): void => {
    const following = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'auto'
    localStorage.setItem('theme', following)
    setTheme(following)
  }
  return [theme, colours, next]
}

function storedTheme(): Theme {
  const stored = localStorage.getItem('theme')
  return themes.find((theme) => theme === stored) ?? 'auto'
}

const root = document.getElementById('app')
if (root !== null) {
  root.replaceChildren()
  render(h(App, null), root)
}
