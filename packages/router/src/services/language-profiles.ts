/** Sample sentences per language, from which the text service learns its letter patterns. */

/** Plain prose on everyday matters, long enough for a stable profile of common trigrams. */
export const languageSamples: Readonly<Record<string, string>> = {
  english: `the weather was good this morning and the children went down to the river with their dog. they wanted to see whether
    the little boats that had come in the night were still there. their mother said that they should be back before lunch because she
    had made something special for all of them. when the sun went behind the hills everyone was at home again and nobody could say
    which of the stories that were told that evening had been true. there is nothing better than having enough time for the things
    which you like to do with those whom you love.`,
  german: `das wetter war an diesem morgen gut und die kinder gingen mit ihrem hund hinunter zum fluss. sie wollten sehen, ob die
    kleinen boote, die in der nacht gekommen waren, noch da lagen. ihre mutter sagte, dass sie vor dem mittagessen zurück sein
    sollten, weil sie für alle etwas besonderes gemacht hatte. als die sonne hinter den hügeln verschwand, waren alle wieder zu hause
    und niemand konnte sagen, welche der geschichten, die an diesem abend erzählt wurden, wahr gewesen ist. es gibt nichts schöneres,
    als genug zeit für die dinge zu haben, die man gerne mit den menschen macht, die man liebt.`,
  french: `le temps était beau ce matin et les enfants sont descendus à la rivière avec leur chien. ils voulaient savoir si les petits
    bateaux qui étaient arrivés pendant la nuit étaient encore là. leur mère leur a dit de rentrer avant le déjeuner parce qu'elle avait
    préparé quelque chose de spécial pour tout le monde. quand le soleil a disparu derrière les collines, tous étaient de nouveau à la
    maison et personne ne pouvait dire laquelle des histoires racontées ce soir-là était vraie. il n'y a rien de mieux que d'avoir assez
    de temps pour les choses que l'on aime faire avec ceux que l'on aime.`,
  spanish: `el tiempo era bueno esta mañana y los niños bajaron al río con su perro. querían ver si los pequeños barcos que habían
    llegado durante la noche todavía estaban allí. su madre les dijo que debían volver antes de la comida porque había preparado algo
    especial para todos. cuando el sol desapareció detrás de las colinas, todos estaban otra vez en casa y nadie podía decir cuál de las
    historias que se contaron aquella noche había sido verdad. no hay nada mejor que tener tiempo suficiente para las cosas que uno
    quiere hacer con las personas que quiere.`,
  italian: `il tempo era bello questa mattina e i bambini sono scesi al fiume con il loro cane. volevano vedere se le piccole barche che
    erano arrivate nella notte erano ancora lì. la madre aveva detto che dovevano tornare prima di pranzo perché aveva preparato qualcosa
    di speciale per tutti. quando il sole è sparito dietro le colline tutti erano di nuovo a casa e nessuno poteva dire quale delle storie
    che furono raccontate quella sera fosse vera. non c'è niente di meglio che avere abbastanza tempo per le cose che si amano fare con
    le persone che si amano.`,
  dutch: `het weer was goed deze ochtend en de kinderen gingen met hun hond naar de rivier. ze wilden zien of de kleine boten die in de
    nacht waren gekomen er nog lagen. hun moeder zei dat ze voor het middageten terug moesten zijn omdat ze voor iedereen iets bijzonders
    had gemaakt. toen de zon achter de heuvels verdween was iedereen weer thuis en niemand kon zeggen welke van de verhalen die op die
    avond werden verteld waar was geweest. er is niets beters dan genoeg tijd te hebben voor de dingen die je graag doet met de mensen
    van wie je houdt.`,
}
