"""The guide in German."""

from app.guide.words import Words

WORDS = Words(
    code="de",
    name="Deutsch",
    direction="ltr",
    title="Weight Decay und was er in einem Lauf bewirkt",
    lead="Weight Decay steht in jedem Rezept und wird in den meisten falsch erklärt. Diese Seite sagt, was er in AdamW tut, wann er in deinem Lauf "
    "zählen kann und wann nicht, und was echte Modelle benutzt haben. Wo ein Versuch eine Behauptung entscheiden kann, startet ihn ein Knopf auf dieser Maschine.",
    rule_title="Was ein Update tut",
    rule=(
        "AdamW nimmt bei jedem Update von jedem betroffenen Gewicht einen Anteil weg, neben dem Schritt des Gradienten: w ← (1 − lr·λ)·w − lr·m̂/(√v̂ + ε). "
        "Verlust und Gradient werden nie verändert.",
        "λ allein sagt also nichts. Es wirkt a = lr·λ, der Anteil je Schritt; er fällt mit dem Plan der Lernrate.",
        "1/a ist sein Gedächtnis in Schritten: Was die Gewichte vor längerer Zeit waren, ist vergessen. Λ = Σ lr·λ über den ganzen Lauf sagt, wie viel der "
        "ersten Gewichte fort ist: exp(−Λ) bleibt. Liegt Λ unter etwa 0,1, tut Decay nichts Messbares.",
        "Wachstum durch den Gradienten und der Zug des Decay gleichen sich aus: Jede betroffene Matrix strebt zu einem RMS von etwa √(lr/(2λ)). Dort zeigt sich "
        "Decay zuerst, lange bevor er im Verlust zu sehen ist.",
    ),
    parameters_title="Welche Parameter verfallen",
    parameters=(
        "Die übliche Regel seit GPT-1: Matrizen ja, Biases und Verstärkungen der Normierung nein. Im Code: Tensoren mit zwei oder mehr Dimensionen.",
        "Embeddings sind eine Gewohnheit, keine Tatsache: nanoGPT und llm.c lassen sie verfallen, OLMo-2 schont sie. Wo Ein- und Ausgabe eine Matrix teilen, "
        "schont man mit dem Embedding auch den Kopf.",
        "Auch Normen und Biases verfallen zu lassen ist bei GPTs selten; OLMo-2 tut es. Probier es hier aus, statt einer Seite zu glauben.",
    ),
    matters_title="Wann er zählt",
    matters=(
        "In einem Durchgang durch frische Daten ist Decay nicht gegen das Auswendiglernen da: Es wird nichts auswendig gelernt. Er wirkt durch den Optimierer, und er "
        "senkt den Trainingsverlust spät im Lauf, wenn die Lernrate gefallen ist.",
        "Werden Daten viele Male gelesen (Dutzende Durchgänge), wird er eine echte Bremse gegen Überanpassung, und das beste λ liegt weit über 0,1: Veröffentlicht sind Werte von 1 bis 3.",
        "In einem kurzen Lauf bei kleiner Lernrate lässt sich nichts, was du für λ zwischen 0 und 0,1 einstellst, vom Rauschen unterscheiden. Das Startformular sagt es, bevor du dafür bezahlst.",
    ),
    figures_title="Aus deinen Läufen",
    no_runs="Noch hat hier kein beendeter Lauf die Größe seiner Gewichte gemeldet; die Bilder erscheinen mit dem ersten.",
    built_in="Aus dem Versuch, der mit Plateau kommt: λ von 0, 0,1, 1 und 3, je drei Startwerte, auf den eingebauten Daten.",
    rms_caption="Größe der verfallenden Gewichte (RMS) über die Schritte, gegen das Gleichgewicht √(lr/(2λ)), dem sie zustreben",
    loss_caption="Validierungsverlust gegen λ, ein Punkt je Lauf",
    models_title="Was echte Modelle benutzt haben",
    models_columns=("Modell", "Weight Decay", "β₁/β₂", "Höchste Lernrate → Ende", "Batch", "Was verfällt", "Quelle"),
    not_published="nicht veröffentlicht",
    not_stated="nicht genannt",
    claims_title="Behauptungen, die dir begegnen",
    claims_lead="Gesammelt aus Notizen, die umgehen. Jede mit einem Urteil, mit dem, was stattdessen stimmt, und einer Quelle, wo es eine gibt.",
    decay_claims="Über Weight Decay",
    run_claims="Über einen flachen Lauf: ein GPT mit 40 Millionen Parametern, eine Parquet-Datei, Verlust von 10,87 auf 3,6 in 10.000 Schritten",
    say="Stattdessen",
    sources="Quellen",
    try_it="Ausprobieren",
    verdicts={
        "right": "Richtig",
        "wrong": "Falsch",
        "mostly_wrong": "Großteils falsch",
        "partly": "Teils richtig",
        "unsupported": "Durch nichts gestützt",
        "convention": "Eine Gewohnheit",
        "misleading": "Irreführend",
        "bug": "Ein Fehler",
        "trap": "Eine Falle",
        "unasked": "Nicht gefragt",
    },
    claims={
        "W1": (
            "Weight Decay fügt dem Verlust (λ/2)·‖w‖² hinzu.",
            "Bei einfachem SGD stimmt das, bis auf einen Faktor. AdamW rührt weder Verlust noch Gradient an: Es multipliziert die Gewichte mit 1 − lr·λ, neben dem Schritt des Gradienten.",
        ),
        "W2": (
            "Die 0.1 eines AdamW-Rezepts ist das λ dieser Strafe.",
            "Eine Strafe im Gradienten wird wie alles darin durch √v̂ geteilt; Gewichte mit großen Gradienten verfallen dann am wenigsten. Der Anteil von AdamW je Schritt ist lr·λ und folgt "
            "dem Plan; λ ohne Lernrate und Schritte bedeutet nichts.",
        ),
        "W3": (
            "Sein Zweck ist, Überanpassung zu verhindern.",
            "Nicht bei Sprachmodellen, die einen oder wenige Durchgänge trainiert werden: Dort wirkt er durch den Optimierer und senkt den Trainingsverlust. Überanpassung bremst er, wo Daten "
            "viele Male gelesen werden, mit einem λ, das etwa dreißigmal so groß ist wie üblich.",
        ),
        "W4": (
            "Übliche Werte sind 0.01 bis 0.1.",
            "0.1 ist die Gewohnheit beim Vortraining, 0.01 die Voreinstellung von PyTorch. Was am besten ist, folgt aus lr·λ mal Schritte, nicht aus λ.",
        ),
        "W5": (
            "GPT-2 benutzte 0.01.",
            "Die Veröffentlichung nennt keinen Wert. 0.01 gehört zu GPT-1, auf allem außer Biases und Verstärkungen. Die Nachbauten in nanoGPT und llm.c benutzen 0.1.",
        ),
        "W6": (
            "GPT-3 und LLaMA 1 und 2 benutzten 0.1.",
            "So schreiben sie es, mit β = (0.9, 0.95) und bei 1 gekappten Gradienten.",
        ),
        "W7": ("PaLM benutzte 0.1.", "PaLM benutzte eine Art Adafactor, deren Decay das Quadrat der Lernrate ist."),
        "W8": (
            "Grok-1 benutzte 0.1, wie die veröffentlichte Konfiguration zeigt.",
            "Veröffentlicht wurde Code zum Ausführen; weder Decay noch ein Optimierer kommt darin vor.",
        ),
        "W9": ("Mistral und Mixtral benutzten 0.1.", "Ihre Trainingseinstellungen wurden nie veröffentlicht."),
        "W10": (
            "Nur manche Parameter verfallen zu lassen ist modern, seit LLaMA.",
            "GPT-1 ließ 2018 Biases und Verstärkungen aus, und so taten es andere davor und danach.",
        ),
        "W11": (
            "Embeddings verfallen.",
            "Manche lassen sie verfallen (nanoGPT, llm.c), manche nicht (OLMo-2), manche nach eigenem Maß. Mit geteilten Gewichten gilt die Wahl auch für den Ausgabekopf.",
        ),
        "W12": (
            "Parameter lassen sich mit Pythons Mengen gruppieren.",
            "Die Reihenfolge einer Menge wechselt von Prozess zu Prozess, und der Zustand eines Optimierers wird nach Plätzen gespeichert: Nach einer Wiederaufnahme stehen Momente an falschen Tensoren, "
            "ohne ein Wort, wo die Formen passen. Gruppen müssen geordnete Listen sein.",
        ),
        "W13": (
            "Nimm lr = 5e-5 mit λ = 0.1.",
            "Das ist eine Lernrate zum Feintuning. lr·λ = 5e-6 hat ein Gedächtnis von 200,000 Schritten: In einem kurzen Lauf tut das nichts.",
        ),
        "W14": (
            "Milliarden Parameter lernen leicht auswendig, und Decay begrenzt das Fassungsvermögen.",
            "Ein Parameter fasst etwa 3.6 Bit; gegen Billionen von Tokens sind solche Modelle klein, nicht groß.",
        ),
        "P1": (
            "524,288 Tokens je Schritt ergeben 7.6 Milliarden bis Schritt 14,500.",
            "16 × 32 × 1,024 = 524,288, mal 14,500 sind 7,602,176,000.",
        ),
        "P2": (
            "Das Modell hat 40 Millionen Parameter, nicht 125 Millionen.",
            "40,953,216 insgesamt; 40.56 Millionen ohne Positionen, wie nanoGPT ausgibt; 21.2 Millionen ohne Embeddings.",
        ),
        "P3": (
            "Ein FineWeb-Stück von 10 bis 50 GB enthält 50 bis 250 Millionen Tokens.",
            "Etwa siebzigmal zu wenig: Eine Parquet-Datei von 2 GB enthält etwa 0.7 bis 0.8 Milliarden GPT-2-Tokens. Zähl sie: die Bytes von train.bin durch zwei.",
        ),
        "P4": (
            "Der Lader von nanoGPT läuft im Kreis durch die Daten.",
            "Er zieht zufällige Stellen, mit Zurücklegen. Nach Tokens für e Durchgänge ist ein Anteil von exp(−e) noch nie gesehen worden.",
        ),
        "P5": (
            "Hauptursache ist Überanpassung; die winzige Lücke ist ein klassisches Zeichen.",
            "Umgekehrt: Überanpassung hebt den Validierungsverlust über den Trainingsverlust. Hier liegt er 0.07 darunter. Und 40 Millionen Parameter können 0.7 Milliarden Tokens nicht "
            "auswendig lernen: Mit je 3.6 Bit fassen sie 4 % davon.",
        ),
        "P6": (
            "Vielfältigere Daten würden die beiden Verluste weiter trennen.",
            "Mehr frische Daten bringen sie zusammen.",
        ),
        "P7": (
            "Buckel im Validierungsverlust zeigen, wie anfällig er für Überanpassung ist.",
            "Sie sind das Rauschen der Auswertung: 200 Mikro-Batches lassen einen Standardfehler von 0.017, und zehn Auswertungen aus reinem Rauschen streuen über 0.052.",
        ),
        "P8": (
            "Die 4.1096 bei Iteration 10,000 sind eine Schwingung.",
            "Die iter-Zeilen von nanoGPT zeigen nur den letzten Mikro-Batch, mit Dropout. Er streut um 0.24; 4.11 ist ein gewöhnlicher Wert.",
        ),
        "P9": (
            "Warum liegt der Validierungsverlust unter dem Trainingsverlust?",
            "Die Validierungsdatei ist klein und nicht wie die Trainingsdatei: ein fester Abstand von −0.071 ± 0.008 über zehn Auswertungen. Neu nach Dokumenten teilen; ein Zeichen guter Verallgemeinerung ist es nicht.",
        ),
        "P10": (
            "Eine Lernrate von 1e-3 ist forsch; nimm 3e-4 bis 6e-4.",
            "Veröffentlichte Gesetze geben 9e-4 bis 1.6e-3 für diese Größe, und 124 Millionen Parameter wurden mit 1.8e-3 trainiert. Drei Raten nebeneinander entscheiden.",
        ),
        "P11": (
            "500 Schritte Warm-up sind zu kurz.",
            "Das sind 262 Millionen Tokens, 2.5 % des Laufs; GPT-3 nahm 375 Millionen, llm.c 700 Schritte. Dafür sprächen nur Spitzen in den ersten 2,000 Schritten.",
        ),
        "P12": (
            "Die letzte Lernrate ist zu hoch, der Abfall zu langsam.",
            "Da ist etwas dran: Abfall auf null schlägt Abfall auf ein Zehntel, um etwa 0.8 % bei 20 Tokens je Parameter, und um mehr bei den 187 bis 258 hier.",
        ),
        "P13": (
            "Der Verlust springt nur; weiteres Training bringt nur Rauschen.",
            "In diesem Fenster fiel die Lernrate von 5.7e-4 auf 2.7e-4, und 28 % der Schritte, mit dem meisten Gewinn des Abfalls, standen noch bevor.",
        ),
        "P14": (
            "β₂ = 0.99 statt der üblichen 0.999 dämpft den Impuls.",
            "β₂ sagt, wie weit das zweite Moment zurückblickt, hier 100 Schritte. Sprachmodelle nehmen 0.95; 0.999 ist die Voreinstellung der Bibliothek.",
        ),
        "P15": (
            "Keine Biases und Dropout regularisieren zu stark.",
            "Biases sind 0.1 % der Parameter. Dropout von 0.1 kostet in wenigen Durchgängen durch Webtext meist Verlust; bei elf Durchgängen lässt sich darüber streiten.",
        ),
        "P16": (
            "Label Smoothing hilft; Ziel ist eine Perplexität unter 10.",
            "Glätten ändert, was gemessen wird. Eine Perplexität von 10 sind 2.30 nats, weniger als ein Modell dieser Größe mit beliebig vielen Daten erreicht (2.74 bis 2.91).",
        ),
        "P17": (
            "Auf Shakespeare ist der Verlust 1.5 bis 2.0, 3.6 ist also schlecht.",
            "Das sind Zeichen, dies sind Tokens von etwa 4.6 Bytes. Je Byte sind 3.6 nur 1.13 Bit; die 1.47 auf Shakespeare sind 2.12 Bit je Zeichen.",
        ),
        "P18": (
            "10 bis 12 % Auslastung sind gut für eine 4070.",
            "nanoGPT teilt durch die Spitze einer A100. Gegen die der eigenen Karte sind es 54 bis 64 %, und das ist hervorragend.",
        ),
        "P19": (
            "200 Auswertungs-Batches könnten zu wenige sein.",
            "Für das Rauschen ja: Der Standardfehler ist 0.017, für 0.005 bräuchte es 2,300. Jedes Mal dieselben Batches auszuwerten hilft mehr.",
        ),
        "P20": (
            "Setze --gradient_clip=1.0.",
            "Die Option heißt --grad_clip, und 1.0 ist voreingestellt; nanoGPT weist unbekannte Namen zurück.",
        ),
        "P21": (
            "Mit mehr Weight Decay wieder aufnehmen.",
            "Der geladene Zustand des Optimierers bringt das alte λ und β zurück; nanoGPT erneuert nur die Lernrate. Es beginnt auch seine Zufallszahlen neu und spielt dieselben Batches noch einmal.",
        ),
        "P22": (
            "λ auf 0.2 bis 0.5 erhöhen.",
            "Die Richtung mag stimmen, der Grund nicht: Ein Gesetz der Zeitskala legt hier bis etwa 0.86 nahe. Eine Vermutung für einen Versuch, kein Rat.",
        ),
        "P23": (
            "fp16 bringt feine Instabilität.",
            "Hier harmlos, und vermeidbar: Die Karte kann bf16, das keine Skalierung des Verlusts braucht.",
        ),
        "P24": (
            "Mehr Daten sind der größte Hebel.",
            "Sie helfen weniger, als man denkt: Frische Tokens statt elf Durchgängen sind etwa 0.05 wert, doppelt so viele Parameter auf denselben Tokens etwa 0.22.",
        ),
    },
)
