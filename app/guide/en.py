"""The guide in English."""

from app.guide.words import Words

WORDS = Words(
    code="en",
    name="English",
    direction="ltr",
    title="Weight decay, and what it does in a run",
    lead="Weight decay stands in every recipe and is explained wrongly in most. This page says what it does in AdamW, when it can matter "
    "in your run and when it cannot, and what real models used. Where an experiment can decide a claim, a button starts it on this machine.",
    rule_title="What one update does",
    rule=(
        "AdamW takes a share of every decayed weight away at each update, beside the gradient's own step: w ← (1 − lr·λ)·w − lr·m̂/(√v̂ + ε). "
        "The loss and its gradient are never changed.",
        "So λ alone says nothing. What acts is a = lr·λ, the share taken at each step; it falls with the learning rate's schedule.",
        "1/a is its memory in steps: what the weights were longer ago than that is forgotten. Λ = Σ lr·λ over the whole run says how much of the "
        "first weights is gone: exp(−Λ) is left. With Λ below about 0.1 decay does nothing that could be measured.",
        "Growth by the gradient and the pull of decay balance: each decayed matrix moves towards an RMS of about √(lr/(2λ)). Decay shows there "
        "first, long before it shows in the loss.",
    ),
    parameters_title="Which parameters decay",
    parameters=(
        "The usual rule since GPT-1: matrices decay, biases and normalisation gains do not. In code: tensors with two or more dimensions.",
        "Embeddings are a convention, not a fact: nanoGPT and llm.c decay them, OLMo-2 spares them. Where input and output share one matrix, "
        "sparing the embedding spares the head as well.",
        "Decaying norms and biases as well is unusual in GPTs; OLMo-2 does it. Try it here rather than believe either side.",
    ),
    matters_title="When it matters",
    matters=(
        "In one pass over fresh data decay is not there against memorising: nothing is memorised. It acts through the optimiser, and it lowers the "
        "training loss late in the run, when the learning rate has come down.",
        "Where data are read many times (tens of passes) it becomes a real brake on over-fitting, and the best λ is far above 0.1: values of 1 to 3 are published.",
        "In a short run at a small learning rate nothing you set for λ between 0 and 0.1 can be told from noise. The launch form says so before you pay for it.",
    ),
    figures_title="From your runs",
    no_runs="No finished run here has reported the size of its weights yet; the figures appear with the first.",
    built_in="From the sweep that comes with Plateau: λ of 0, 0.1, 1 and 3, three seeds each, on the built-in data.",
    rms_caption="Size of the decayed weights (RMS) over the steps, against the balance √(lr/(2λ)) they move to",
    loss_caption="Validation loss against λ, a point a run",
    models_title="What real models used",
    models_columns=("Model", "Weight decay", "β₁/β₂", "Peak learning rate → end", "Batch", "What decays", "Source"),
    not_published="not published",
    not_stated="not stated",
    claims_title="Claims you will meet",
    claims_lead="Collected from notes that circulate. Each has a verdict, what is right instead, and a source where there is one.",
    decay_claims="About weight decay",
    run_claims="About one flat run: a GPT of 40 million parameters, one parquet file, loss from 10.87 to 3.6 in 10,000 steps",
    say="Instead",
    sources="Sources",
    try_it="Try it",
    verdicts={
        "right": "Right",
        "wrong": "Wrong",
        "mostly_wrong": "Mostly wrong",
        "partly": "Partly right",
        "unsupported": "Nothing supports it",
        "convention": "A convention",
        "misleading": "Misleading",
        "bug": "A bug",
        "trap": "A trap",
        "unasked": "Nobody asked",
    },
    claims={
        "W1": (
            "Weight decay adds (λ/2)·‖w‖² to the loss.",
            "True of plain SGD, up to a factor. AdamW never touches the loss or the gradient: it multiplies the weights by 1 − lr·λ beside the gradient's step.",
        ),
        "W2": (
            "The 0.1 in an AdamW recipe is the λ of that penalty.",
            "A penalty put into the gradient is divided by √v̂ like everything else in it, so weights with large gradients decay least. AdamW's share a step is "
            "lr·λ and follows the schedule; λ without learning rate and steps means nothing.",
        ),
        "W3": (
            "Its purpose is to prevent over-fitting.",
            "Not in language models trained for one or a few passes: there it acts through the optimiser and lowers the training loss. It does hold back "
            "over-fitting where data are read many times, with a λ about thirty times the usual.",
        ),
        "W4": (
            "Typical values are 0.01 to 0.1.",
            "0.1 is the convention of pre-training, 0.01 PyTorch's default. What is best follows from lr·λ times the steps, not from λ.",
        ),
        "W5": (
            "GPT-2 used 0.01.",
            "Its paper names no value. 0.01 is GPT-1's, on all but biases and gains. The reproductions in nanoGPT and llm.c use 0.1.",
        ),
        "W6": ("GPT-3 and LLaMA 1 and 2 used 0.1.", "So they say, with β = (0.9, 0.95) and gradients clipped at 1."),
        "W7": ("PaLM used 0.1.", "PaLM used an Adafactor variant whose decay is the learning rate squared."),
        "W8": (
            "Grok-1 used 0.1, as its released configuration shows.",
            "What was released is code for inference; neither decay nor an optimiser occurs in it.",
        ),
        "W9": ("Mistral and Mixtral used 0.1.", "Their training settings were never published."),
        "W10": (
            "Decaying some parameters only is modern, since LLaMA.",
            "GPT-1 left out biases and gains in 2018, and so did those before and after it.",
        ),
        "W11": (
            "Embeddings decay.",
            "Some decay them (nanoGPT, llm.c), some do not (OLMo-2), some in a measure of their own. With tied weights the choice is made for the output head too.",
        ),
        "W12": (
            "Parameters can be grouped with Python sets.",
            "A set's order changes from process to process, and an optimiser's state is stored by position: after a resume moments stand at the wrong tensors, "
            "without a word where shapes agree. Groups must be ordered lists.",
        ),
        "W13": (
            "Take lr = 5e-5 with λ = 0.1.",
            "That is a learning rate for fine-tuning. lr·λ = 5e-6 has a memory of 200,000 steps: in a short run it does nothing.",
        ),
        "W14": (
            "Billions of parameters memorise easily, and decay controls the capacity.",
            "A parameter holds about 3.6 bits; against trillions of tokens such models are small, not large.",
        ),
        "P1": (
            "524,288 tokens a step make 7.6 billion by step 14,500.",
            "16 × 32 × 1,024 = 524,288, times 14,500 is 7,602,176,000.",
        ),
        "P2": (
            "The model has 40 million parameters, not 125 million.",
            "40,953,216 in all; 40.56 million without positions, as nanoGPT prints; 21.2 million without embeddings.",
        ),
        "P3": (
            "A FineWeb shard of 10 to 50 GB holds 50 to 250 million tokens.",
            "Too few by about seventy times: a parquet file of 2 GB holds about 0.7 to 0.8 billion GPT-2 tokens. Count them: the bytes of train.bin over two.",
        ),
        "P4": (
            "nanoGPT's loader cycles through the data.",
            "It draws places at random, with replacement. After e passes' worth of tokens a share of exp(−e) has never been seen.",
        ),
        "P5": (
            "The main cause is over-fitting; the tiny gap is a classic sign.",
            "The other way round: over-fitting lifts the validation loss above the training loss. Here it lies 0.07 below. And 40 million parameters cannot memorise "
            "0.7 billion tokens: at 3.6 bits each they hold 4 % of them.",
        ),
        "P6": ("More varied data would separate the two losses more.", "More fresh data brings them together."),
        "P7": (
            "Bumps of the validation loss show how sensitive it is to over-fitting.",
            "They are the noise of the evaluation: 200 micro-batches leave a standard error of 0.017, and ten evaluations of nothing but noise range over 0.052.",
        ),
        "P8": (
            "The 4.1096 at iteration 10,000 is an oscillation.",
            "nanoGPT's iter lines show the last micro-batch alone, with dropout on. Its spread is 0.24, so 4.11 is an ordinary value.",
        ),
        "P9": (
            "Why is the validation loss below the training loss?",
            "The validation file is small and not like the training file: a constant offset of −0.071 ± 0.008 over ten evaluations. Split by documents again; it is no sign of generalising well.",
        ),
        "P10": (
            "A learning rate of 1e-3 is aggressive; take 3e-4 to 6e-4.",
            "Published laws give 9e-4 to 1.6e-3 for this size, and 124 million parameters have been trained at 1.8e-3. Three rates side by side decide.",
        ),
        "P11": (
            "A warm-up of 500 steps is too short.",
            "It is 262 million tokens, 2.5 % of the run; GPT-3 took 375 million, llm.c 700 steps. Only spikes in the first 2,000 steps would speak for it.",
        ),
        "P12": (
            "The final learning rate is too high, the decay too slow.",
            "There is something in it: decaying to zero beats decaying to a tenth, by about 0.8 % at 20 tokens a parameter, and by more at the 187 to 258 here.",
        ),
        "P13": (
            "The loss only bounces; training on adds noise.",
            "Within that window the learning rate fell from 5.7e-4 to 2.7e-4, and 28 % of the steps, with most of the gain of annealing, were still to come.",
        ),
        "P14": (
            "β₂ = 0.99 instead of the usual 0.999 damps the momentum.",
            "β₂ is how far back the second moment looks, here 100 steps. Language models use 0.95; 0.999 is the library's default.",
        ),
        "P15": (
            "No biases and dropout regularise too much.",
            "Biases are 0.1 % of the parameters. Dropout of 0.1 usually costs loss in a few passes over web text; at eleven passes one can argue.",
        ),
        "P16": (
            "Label smoothing helps; aim at a perplexity below 10.",
            "Smoothing changes what is measured. A perplexity of 10 is 2.30 nats, below what a model of this size reaches on any amount of data (2.74 to 2.91).",
        ),
        "P17": (
            "On Shakespeare the loss is 1.5 to 2.0, so 3.6 is poor.",
            "Those are characters, these are tokens of about 4.6 bytes. Per byte 3.6 is 1.13 bits; Shakespeare's 1.47 is 2.12 bits a character.",
        ),
        "P18": (
            "A utilisation of 10 to 12 % is fine for a 4070.",
            "nanoGPT divides by an A100's peak. Against the card's own it is 54 to 64 %, which is excellent.",
        ),
        "P19": (
            "200 evaluation batches may be too few.",
            "They are, for noise: the standard error is 0.017, and 0.005 would take 2,300. Evaluating the same batches each time helps more.",
        ),
        "P20": (
            "Set --gradient_clip=1.0.",
            "The option is --grad_clip, and 1.0 is its default; nanoGPT refuses names it does not know.",
        ),
        "P21": (
            "Resume with more weight decay.",
            "Loading an optimiser's state brings the old λ and β back; nanoGPT renews the learning rate only. It also starts its random numbers again and replays the same batches.",
        ),
        "P22": (
            "Raise λ to 0.2 to 0.5.",
            "The direction may be right, the reason is not: a law of the timescale suggests up to about 0.86 here. A hypothesis for a sweep, not advice.",
        ),
        "P23": (
            "fp16 brings subtle instability.",
            "Harmless here, and avoidable: the card has bf16, which needs no loss scaling.",
        ),
        "P24": (
            "More data is the biggest lever.",
            "It helps less than one thinks: fresh tokens instead of eleven passes are worth about 0.05; twice the parameters on the same tokens about 0.22.",
        ),
    },
)
