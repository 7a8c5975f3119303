"""Lengths of documents in bins and quantiles, and the share of what is too long."""

import itertools

import numpy as np

from worker.lengths import bin_edges, extremes, lengths_of


def test_bins_hold_every_length_once_and_powers_of_two_are_edges():
    edges = bin_edges(3000)
    assert {1, 2, 4, 8, 256, 1024, 2048} <= set(edges)
    assert all(a < b for a, b in itertools.pairwise(edges))
    lengths = np.array([0, 1, 1, 255, 256, 3000])
    found = lengths_of(lengths, edges)
    assert sum(found.documents) == 6
    assert found.documents[0] == 1
    assert found.documents[edges.index(1)] == 2
    assert found.documents[edges.index(256)] == 1
    assert edges[-1] > 3000


def test_a_length_on_the_last_edge_stays_out_of_the_last_bin():
    edges = bin_edges(1024)
    assert edges[-2:] == [1024, 1448]
    assert lengths_of(np.array([1024]), edges).documents[-1] == 1


def test_quantiles_are_lengths_that_occur():
    found = lengths_of(np.arange(1, 101), bin_edges(100))
    assert found.quantiles == {
        "min": 1,
        "p10": 11,
        "p25": 26,
        "median": 51,
        "p75": 75,
        "p90": 90,
        "p99": 99,
        "max": 100,
    }
    assert found.mean == 50.5
    assert lengths_of(np.empty(0, np.int64), [0, 1]) is None


def test_what_a_context_cannot_hold_is_counted_in_documents_and_tokens():
    found = extremes(np.array([100, 0, 300, 600]), dropped_empty=2)
    assert found.empty_documents == 3
    assert [(one.context, one.documents, one.tokens) for one in found.beyond] == [(256, 0.5, 0.9), (512, 0.25, 0.6)]
    assert (found.longest, found.longest_share, found.longest_percent_share) == (600, 0.6, 0.6)
